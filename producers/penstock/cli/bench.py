"""Owns `penstock bench`: what is asked for, one run after the other, and what is left of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from confluent_kafka import KafkaException
from rich.console import Console

from penstock.bench import record as records
from penstock.bench.drive import Plan, Run, first_jobs
from penstock.bench.load import Arrivals, ClosedLoop, Load, OpenLoop
from penstock.bench.record import Record, run_record
from penstock.bench.stages import break_down, verdict
from penstock.bench.witness import Witness
from penstock.bench.work import Kind, Tensor, Works, parse_kind, parse_tensor
from penstock.cli.bench_view import Live, print_changes, print_runs
from penstock.cli.common import Flags, note, read_settings
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.interrupts import StopRequests
from penstock.cli.models import describe_models
from penstock.client import Client
from penstock_schemas.settings import Settings

_FIRST_WAIT: Final = 60.0
_SIGNATURE: Final = "serving_default"
_PACKAGES: Final = ("penstock", "confluent-kafka", "redis", "numpy", "tensorflow")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    kinds: Sequence[str]
    tensors: Sequence[str] = ()
    rates: Sequence[float] = ()
    callers: Sequence[int] = ()
    arrivals: Arrivals = "poisson"
    seconds: float = 10.0
    wait: float = 30.0
    timeout: float | None = None
    seed: int | None = None
    json: Path | None = None
    plot: Path | None = None

    def each_load(self) -> list[Load]:
        """Every load, in the order of the flags: open loops first."""
        return [*(OpenLoop(rate, self.arrivals) for rate in self.rates), *map(ClosedLoop, self.callers)]


def run_bench(flags: Flags, wanted: Wanted) -> None:
    """Run each load and tell. Raises CommandError, the client's errors, Interrupted."""
    loads = wanted.each_load()
    if not wanted.kinds:
        raise CommandError(ExitCode.WRONG_USE, "say what jobs: --job MODEL, or MODEL:ROWS=WEIGHT, several times for a mix")
    if not loads:
        raise CommandError(ExitCode.WRONG_USE, "say what load: --rate JOBS_A_SECOND (open loop) or --callers N (closed loop)")
    if wanted.plot is not None:
        _check_plot(wanted.plot)
    kinds = _kinds(wanted.kinds)
    settings = read_settings(flags)
    tensors = _tensors(settings, kinds, wanted.tensors)
    console = Console()
    record = Record(
        datetime.now(UTC).isoformat(timespec="seconds"), settings.fleet, [str(kind) for kind in kinds], _versions(), _machine()
    )
    with StopRequests() as stop, _client(settings) as client:
        random = np.random.default_rng(wanted.seed)
        works = Works(kinds, tensors, random)
        with console.status("a first job of each kind"):
            first_jobs(client, works, _FIRST_WAIT)
        for load in loads:
            plan = Plan(load, wanted.seconds, wait=wanted.wait, timeout=wanted.timeout)
            record.runs.append(_run(console, settings, client, works, plan, random, stop))
    print_runs(console, record)
    if wanted.json is not None:
        records.write(record, wanted.json)
        note(f"written to {wanted.json}")
    if wanted.plot is not None:
        from penstock.bench.plot import plot

        plot(record, wanted.plot)
        note(f"drawn into {wanted.plot}")
    if any(run.status.get("succeeded", 0) < run.submitted for run in record.runs):
        raise CommandError(ExitCode.JOB_FAILED, "not every job succeeded: see the table")


def compare_records(before: Path, after: Path) -> None:
    """Print what differs between two records. Raises CommandError."""
    try:
        one, other = records.read(before), records.read(after)
    except (records.NotARecord, OSError) as error:
        raise CommandError(ExitCode.WRONG_USE, str(error)) from error
    changes = records.compare(one, other)
    if not changes:
        raise CommandError(ExitCode.NOT_THERE, "the two have no load in common")
    print_changes(Console(), changes)
    for load in records.alone(one, other):
        note(f"only one of the two has: {load}")


def _run(
    console: Console,
    settings: Settings,
    client: Client,
    works: Works,
    plan: Plan,
    random: np.random.Generator,
    stop: StopRequests,
) -> records.RunRecord:
    witness = _witness(settings)
    try:
        run = Run(client, works, plan, random, witness)
        with Live(console, run) as live:

            def check() -> None:
                stop.check()
                live.look()

            run.go(check)
    finally:
        if witness is not None:
            witness.close()
    publish = witness.publish.seconds if witness is not None else None
    project = witness.project.seconds if witness is not None else None
    told = break_down(run.tally, publish, project)
    return run_record(plan, run.tally, told, verdict(run.tally, plan, told))


def _client(settings: Settings) -> Client:
    kafka = settings.kafka
    return Client(
        kafka.bootstrap_servers,
        settings.redis.url,
        fleet=settings.fleet,
        redis_timeout=settings.redis.timeout,
        max_job_bytes=settings.topics.max_job_bytes,
        kafka_properties=kafka.properties,
    )


def _witness(settings: Settings) -> Witness | None:
    """None where the topics may not be read: two stages are then one."""
    properties = {**settings.kafka.properties, "bootstrap.servers": settings.kafka.bootstrap_servers}
    try:
        return Witness(properties, settings.names.jobs(), settings.names.outcomes)
    except KafkaException as error:
        note(f"the topics cannot be looked at ({error.args[0]}): publish, settle and project are not told apart")
        return None


def _kinds(texts: Sequence[str]) -> list[Kind]:
    try:
        return [parse_kind(text) for text in texts]
    except ValueError as error:
        raise CommandError(ExitCode.WRONG_USE, str(error)) from error


def _tensors(settings: Settings, kinds: Sequence[Kind], texts: Sequence[str]) -> Mapping[str, Sequence[Tensor]]:
    """The inputs of each model: as the command line says, or as the declared models do. Raises CommandError."""
    models = {kind.model for kind in kinds}
    if texts:
        if len(models) > 1:
            raise CommandError(
                ExitCode.WRONG_USE, "--input is for one model; declare several in penstock.toml, or --model each"
            )
        try:
            return {name: [parse_tensor(text) for text in texts] for name in models}
        except ValueError as error:
            raise CommandError(ExitCode.WRONG_USE, str(error)) from error
    if missing := sorted(models - settings.models.keys()):
        raise CommandError(
            ExitCode.WRONG_USE,
            f"model {missing[0]!r} is not declared here, so its inputs are not known: say them, "
            "as in --input x=FP32[8,8] (the shape of one row), or declare it: --model NAME=PATH",
        )
    with Console(stderr=True).status("looking at the models"):
        described = {model["name"]: model for model in describe_models(settings)}
    return {name: _inputs_of(name, described[name]) for name in models}


def _inputs_of(name: str, described: Mapping[str, Any]) -> list[Tensor]:
    if described.get("error"):
        raise CommandError(ExitCode.NOT_THERE, f"model {name!r} does not load: {described['error']}")
    newest = max(described["versions"], key=lambda one: int(one["version"]))
    signatures = newest["signatures"]
    signature = signatures.get(_SIGNATURE) or next(iter(signatures.values()))
    return [
        Tensor(one["name"], one["datatype"], tuple(max(size, 1) for size in (one["shape"] or [1])[1:]))
        for one in signature["inputs"]
    ]


def _check_plot(path: Path) -> None:
    if find_spec("matplotlib") is None:
        raise CommandError(ExitCode.NOT_THERE, 'drawing takes matplotlib: pip install "penstock[bench]"')
    if not path.suffix:
        raise CommandError(ExitCode.WRONG_USE, f"--plot {path} must end in .png, .svg or .pdf")


def _versions() -> dict[str, str]:
    found: dict[str, str] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}
