"""``python -m penstock_worker``: one worker's processes. The one place that wires them.

Exit status: 0 after a drain, 1 where the worker could not go on, 2 for wrong settings or topics.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from penstock_schemas.settings import Settings, load_settings
from penstock_worker.companion import Companion
from penstock_worker.devices import NoGpuError, find_devices
from penstock_worker.kafka import end_process
from penstock_worker.logs import configure_logs
from penstock_worker.topics import TopicWatch, WrongTopicsError, await_topics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from penstock_worker.metrics import MetricsServer, Probe


class Stop:
    """Whether to end: the first signal asks for a drain, the second ends the process at once.

    Signals are read by a thread: a call of the Kafka client may hold the main one, where handlers run, for many seconds.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        told, telling = os.pipe()
        os.set_blocking(telling, False)
        signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)  # without a handler the descriptor is told nothing
        threading.Thread(target=self._watch, args=(told,), name="signals", daemon=True).start()

    def __call__(self) -> bool:
        return self.event.is_set()

    def _watch(self, told: int) -> None:
        while number := os.read(told, 1):
            if self.event.is_set():
                os._exit(128 + number[0])  # engines and companions see their pipes close and end themselves
            self.event.set()


def main(argv: list[str] | None = None) -> int:
    """Run the roles that the settings name. Returns the exit status."""
    options = _options(sys.argv[1:] if argv is None else argv)
    try:
        settings = load_settings(options.config, **_flags(options))
    except (ValidationError, FileNotFoundError, ValueError) as error:
        print(f"penstock worker: {error}", file=sys.stderr)
        return 2
    roles = settings.worker.roles
    configure_logs(settings.worker, roles[0] if len(roles) == 1 else "work")
    stop = Stop()
    if options.life_fd is not None:
        _end_with(options.life_fd, stop)
    try:
        ids = await_topics(settings, stop)
        if "work" in roles:
            return _work(settings, options, stop, TopicWatch(settings, ids))
        return _project(settings, options, stop)
    except (WrongTopicsError, NoGpuError, _PortTakenError) as error:
        structlog.get_logger("penstock.worker").error("cannot start", reason=str(error))
        return 2


def _work(settings: Settings, options: argparse.Namespace, stop: Stop, topics: TopicWatch) -> int:
    from penstock_worker.engine.pool import WorkerFailedError
    from penstock_worker.metrics import WorkerMetrics
    from penstock_worker.work import Worker

    log = structlog.get_logger("penstock.worker")
    if not settings.models:
        log.error("cannot start", reason="no model is declared: set models.NAME.path, or give --model NAME=PATH")
        return 2
    metrics = WorkerMetrics()
    working: list[Worker] = []  # none yet: the port is taken first, for that may fail, and engines take seconds
    server = _serve_metrics(
        settings,
        metrics.registry,
        live=lambda: working[0].live() if working else None,
        ready=lambda: working[0].ready() if working else "is starting",
    )
    worker = Worker(settings, find_devices(settings.worker), f"{socket.gethostname()}-{os.getpid()}", metrics, topics)
    working.append(worker)
    companion = Companion(_projector_arguments(options, settings)) if "project" in settings.worker.roles else None
    say_ready = _sayer(options.ready_fd)

    def on_ready() -> None:
        log.info("ready")
        say_ready()

    def all_ready() -> bool:
        if companion is not None:
            companion.watch()
        return worker.ready() is None and (companion is None or companion.ready)

    _calm_collector()
    try:
        worker.run(stop, all_ready, on_ready)
    except WorkerFailedError as error:
        log.error("the worker ends", reason=str(error))
        return 1
    finally:
        topics.stop()
        if companion is not None:
            companion.stop(timeout=10.0)
        if server is not None:
            server.close()
    return 0


def _project(settings: Settings, options: argparse.Namespace, stop: Stop) -> int:
    from penstock_worker.metrics import ProjectorMetrics
    from penstock_worker.project.running import run_projector
    from penstock_worker.project.store import StoreUnsuitable

    log = structlog.get_logger("penstock.projector")
    metrics = ProjectorMetrics()
    server = _serve_metrics(settings, metrics.registry, live=lambda: None, ready=metrics.ready)
    say_ready = _sayer(options.ready_fd)

    def on_ready() -> None:
        metrics.is_serving = True
        log.info("ready")
        say_ready()

    _calm_collector()
    try:
        run_projector(settings, stop.event, ready=on_ready, metrics=metrics)
    except StoreUnsuitable as error:
        log.error("cannot start", reason=str(error))
        return 2
    finally:
        if server is not None:
            server.close()
    return 0


class _PortTakenError(Exception):
    """The metrics' port is in use; the message says which."""


def _serve_metrics(settings: Settings, registry: CollectorRegistry, *, live: Probe, ready: Probe) -> MetricsServer | None:
    """Serve metrics and probes where a port is set."""
    from penstock_worker.metrics import MetricsServer

    port = settings.worker.metrics_port
    if port is None:
        return None
    try:
        server = MetricsServer(port, registry, live, ready)
    except OSError as error:
        raise _PortTakenError(f"metrics port {port} cannot be had ({error.strerror}): set worker.metrics_port") from error
    structlog.get_logger("penstock.worker").info("metrics served", port=server.port)
    return server


def _calm_collector() -> None:
    """What is loaded now stays; and thousands of messages come and go at once, none of them in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="penstock worker", description="Run one worker of the fleet.")
    parser.add_argument("--config", type=Path, help="configuration file (default: penstock.toml here, where there is one)")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH", help="declare a model (repeatable)")
    parser.add_argument("--roles", help="work, project, or both with a comma")
    parser.add_argument("--metrics-port", type=int, help="port of /metrics, /livez and /readyz")
    parser.add_argument("--ready-fd", type=int, help="descriptor to write a line to, once ready")
    parser.add_argument("--life-fd", type=int, help="descriptor to end with, when it closes")
    return parser.parse_args(argv)


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    """The flags as nested settings. Raises ValueError for a --model that is not NAME=PATH."""
    flags: dict[str, Any] = {}
    worker: dict[str, Any] = {}
    if options.roles:
        worker["roles"] = options.roles.split(",")
    if options.metrics_port is not None:
        worker["metrics_port"] = options.metrics_port
    if worker:
        flags["worker"] = worker
    for declared in options.model:
        name, equals, path = declared.partition("=")
        if not (name and equals and path):
            raise ValueError(f"--model {declared!r} must be NAME=PATH")
        flags.setdefault("models", {})[name] = {"path": path}
    return flags


def _projector_arguments(options: argparse.Namespace, settings: Settings) -> list[str]:
    arguments = ["--roles", "project"]
    if options.config is not None:
        arguments += ["--config", str(options.config)]
    if (port := settings.worker.metrics_port) is not None:
        arguments += ["--metrics-port", str(port + 1 if port else 0)]
    return arguments


def _sayer(descriptor: int | None) -> Callable[[], None]:
    def say() -> None:
        if descriptor is not None:
            os.write(descriptor, b"ready\n")

    return say


def _end_with(descriptor: int, stop: Stop) -> None:
    """End when the other end of ``descriptor`` is gone."""

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        stop.event.set()

    threading.Thread(target=watch, name="life", daemon=True).start()


if __name__ == "__main__":
    end_process(main)
