"""Owns `penstock up`: local services, topics and a worker in the foreground until a signal ends it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from penstock.cli.common import Flags, merge, note, read_settings
from penstock.cli.exits import CommandError, ExitCode, Interrupted
from penstock.cli.interrupts import Interrupts
from penstock.local.choice import KafkaKind, choose_kafka
from penstock.local.embedded import EmbeddedKafka
from penstock.local.guard import Guard
from penstock.local.services import KAFKA_PORT, REDIS_PORT, LocalServices
from penstock.local.worker import LocalWorker
from penstock.topics import TopicManager
from penstock_schemas.topics import wanted_topics

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

_END_SECONDS: Final = 15.0
"""What a worker may take to end beyond its grace."""
_LOOK_SECONDS: Final = 0.5
"""How often the services are looked at while the fleet is up."""


def run_up(flags: Flags, *, kind: str | None, kafka_port: int | None, redis_port: int | None, data_dir: Path | None) -> None:
    """Start all, print one line on stdout, and stay until a signal comes or a part ends. Raises CommandError, LocalError."""
    settings = read_settings(flags)  # a wrong one is told before anything starts
    if not settings.models:
        raise CommandError(ExitCode.WRONG_USE, "no model to serve: give --model NAME=PATH, or [models.NAME] in penstock.toml")
    forced: KafkaKind | None = "apache" if kind == "apache" else "embedded" if kind == "embedded" else None
    with Interrupts() as interrupts, Guard() as guard:
        folder = guard.make_folder("penstock-up-")
        services = LocalServices(
            data_dir or folder,
            choose_kafka(forced),
            kafka_port=kafka_port,
            redis_port=redis_port,
            durable=data_dir is not None,
            guard=guard,
            say=note,
        )
        worker: LocalWorker | None = None
        try:
            services.start()
            settings = start_topics(flags, services)
            note("worker: loading TensorFlow and the models")
            starting = LocalWorker(settings, folder=folder, guard=guard)
            starting.start()
            worker = starting
            typer.echo(_addresses(settings))
            sys.stdout.flush()
            note(_pointers(settings))
            _stay(worker, services)
        except Interrupted:
            if worker is None:
                raise
            grace = settings.worker.shutdown_grace
            note(f"\nending: what is in flight is finished first, for up to {grace:g} s; once more (Ctrl-C) ends it at once")
            _drain(worker, services, interrupts, grace)
            raise typer.Exit(worker.process.exit_code or 0) from None  # it was asked to end: that is no failure
        finally:
            interrupts.shield()


def start_topics(flags: Flags, services: LocalServices, **more: Any) -> Settings:
    """The settings that point at started services, their topics made. Raises what TopicManager raises."""
    settings = read_settings(flags, **merge(services.flags(), more))
    if isinstance(services.kafka, EmbeddedKafka):
        services.kafka.make_topics(topic.name for topic in wanted_topics(settings, brokers=1))
    else:
        TopicManager(settings).apply()
    return settings


def _addresses(settings: Settings) -> str:
    models = ", ".join(settings.models)
    servers, url = settings.kafka.bootstrap_servers, settings.redis.url
    return f"penstock is up: kafka {servers}  redis {url}  fleet {settings.fleet}  models {models}"


def _pointers(settings: Settings) -> str:
    """How other commands and services find this fleet; the defaults do where it is at the usual addresses."""
    servers, url = settings.kafka.bootstrap_servers, settings.redis.url
    lines = ["Ctrl-C ends it. From another terminal: penstock submit, penstock result, penstock doctor"]
    if not (servers.endswith(f":{KAFKA_PORT}") and f":{REDIS_PORT}/" in url and settings.fleet == "penstock"):
        lines.append("after: export " + _exports(servers, url, settings.fleet))
    return "\n".join(lines)


def _exports(servers: str, url: str, fleet: str) -> str:
    variables = {"PENSTOCK_KAFKA__BOOTSTRAP_SERVERS": servers, "PENSTOCK_REDIS__URL": url, "PENSTOCK_FLEET": fleet}
    return " ".join(f"{name}={value}" for name, value in variables.items())


def _stay(worker: LocalWorker, services: LocalServices) -> None:
    while True:
        if worker.process.wait(_LOOK_SECONDS) is not None:
            raise CommandError(ExitCode.UNREACHABLE, f"the worker ended with exit code {worker.process.exit_code}")
        if (trouble := services.trouble()) is not None:
            raise CommandError(ExitCode.UNREACHABLE, trouble)


def _drain(worker: LocalWorker, services: LocalServices, interrupts: Interrupts, grace: float) -> None:
    """End in good order, unless another signal comes; whatever is left then is killed by the guard."""
    once = interrupts.count
    worker.process.signal(signal.SIGTERM)
    end = time.monotonic() + grace + _END_SECONDS
    while worker.process.wait(0.05) is None and interrupts.count == once and time.monotonic() < end:
        pass
    if interrupts.count == once:
        services.stop()
    else:
        worker.kill()
