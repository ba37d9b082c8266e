"""Owns `penstock demo`: the whole fleet at work on one machine, from an empty folder to a table, and nothing left behind."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock.aio import AsyncClient
from penstock.cli.common import Flags
from penstock.cli.digits import MODEL, HeldOut, Training, check_installed, drawn, side_by_side, train_script
from penstock.cli.interrupts import Interrupts
from penstock.cli.measuring import Burst, Sample, answer, burst, percentiles, steady
from penstock.cli.up import start_topics
from penstock.client import Client
from penstock.local.choice import KafkaKind, choose_kafka
from penstock.local.guard import Guard
from penstock.local.services import LocalServices
from penstock.local.worker import LocalWorker
from penstock_schemas.settings import Settings

INPUT: Final = "image"
STEADY_RATE: Final = 100.0
"""Jobs a second of the steady load: far below what any machine manages, as a service's own traffic would be."""
BURST_JOBS: Final = 12_000
BURST_JOBS_EMBEDDED: Final = 3_000
"""The embedded broker drops what passes about 5 MB a partition."""
_DRAWN: Final = 6


def run_demo(kind: str | None) -> None:
    """Run it. Raises CommandError, LocalError, the client's errors, Interrupted; whatever happens, nothing stays behind."""
    check_installed()
    forced: KafkaKind | None = "apache" if kind == "apache" else "embedded" if kind == "embedded" else None
    console = Console()
    with Interrupts() as interrupts, Guard() as guard:
        folder = guard.make_folder("penstock-demo-")
        try:
            _demo(console, folder, guard, forced)
        finally:
            interrupts.shield()  # what is still up now is ended by the guard, and the folder removed


def _demo(console: Console, folder: Path, guard: Guard, forced: KafkaKind | None) -> None:
    def say(text: str) -> None:
        console.print(f"[dim]{escape(text)}[/dim]")

    training = Training(folder, guard)
    training.start()  # it takes as long as the services do
    services = LocalServices(folder, choose_kafka(forced), guard=guard, say=say)
    with console.status("starting Kafka and Redis"):
        services.start()
    say(f"Kafka {services.kafka.bootstrap}, Redis {services.redis.url}")
    with console.status("training the digits model (a small CNN) on two thirds of the scans"):
        held_out = training.wait()
    say(f"trained; {len(held_out.labels)} scans that it never saw are held out")
    with console.status("starting a worker: TensorFlow loads, the model is warmed up for every batch size"):
        # No spare: on a laptop, half a gigabyte and the seconds of importing TensorFlow once more are better saved.
        declared = {MODEL: {"path": str(training.models)}}
        settings = start_topics(Flags(), services, fleet="demo", models=declared, worker={"spare": "none"})
        worker = LocalWorker(settings, folder=folder, log=folder / "worker.log", guard=guard)
        worker.start()
    jobs = BURST_JOBS_EMBEDDED if services.is_embedded else BURST_JOBS
    samples, found = _measured(console, settings, held_out, jobs)
    _report(console, held_out, samples, found)
    _go_on(console, held_out)
    with console.status("ending worker and services"):
        worker.stop()


def _measured(console: Console, settings: Settings, held_out: HeldOut, jobs: int) -> tuple[list[Sample], Burst]:
    """The held-out scans as jobs: once at a steady rate, then over and over in a burst."""
    images = held_out.images
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    where: dict[str, Any] = {"fleet": settings.fleet}
    servers, url = settings.kafka.bootstrap_servers, settings.redis.url
    with Progress(*columns, console=console) as progress:
        first = progress.add_task(f"steady, {STEADY_RATE:g} jobs/s", total=len(images))
        second = progress.add_task("burst, as fast as they go", total=jobs, start=False)

        async def run_steady() -> list[Sample]:
            async with AsyncClient(servers, url, **where) as client:
                # One job before the clock runs: connections are made by the first.
                await (await client.submit(MODEL, {INPUT: images[:1]})).result(timeout=60)
                return await steady(client, MODEL, INPUT, images, STEADY_RATE, lambda: progress.advance(first))

        samples = asyncio.run(run_steady())
        progress.start_task(second)
        with Client(servers, url, **where) as client:
            found = burst(client, MODEL, INPUT, images, held_out.labels, jobs, lambda: progress.advance(second))
    return samples, found


def _report(console: Console, held_out: HeldOut, samples: list[Sample], found: Burst) -> None:
    answers = [answer(one.outcome) for one in samples]
    right = [digit == label for (digit, _), label in zip(answers, held_out.labels, strict=True)]
    p50, p95, p99 = percentiles(samples)
    sizes = Counter(one.outcome.timings.batch_rows for one in samples if one.outcome.timings is not None)
    table = Table(title="Handwritten digits through the fleet", title_justify="left")
    table.add_column("")
    table.add_column("steady", justify="right")
    table.add_column("burst", justify="right")
    table.add_row("jobs", f"{len(samples):,}", f"{found.jobs:,}")
    table.add_row("accuracy on held-out scans", f"{sum(right) / len(right):.1%}", f"{found.right / max(found.jobs, 1):.1%}")
    table.add_row("jobs/s", f"{len(samples) / (samples[-1].back - samples[0].due):,.0f}", f"{found.rate:,.0f}")
    table.add_row("submit to result, p50", f"{p50:.1f} ms", "–")
    table.add_row("submit to result, p95", f"{p95:.1f} ms", "–")
    table.add_row("submit to result, p99", f"{p99:.1f} ms", "–")
    table.add_row("rows in a batch (median, most)", _sizes(sizes), _sizes(found.batches))
    console.print()
    console.print(table)
    console.print(
        f"[dim]Steady: jobs left at {STEADY_RATE:g} a second whatever the fleet did (open loop), timed from when each was due. "
        "Burst: as fast as they go. All of it ran on this one machine, this program too.[/dim]"
    )
    console.print()
    _draw(console, held_out, answers)


def _sizes(batches: Counter[int]) -> str:
    """Median (over jobs) and largest batch size."""
    if not batches:
        return "–"
    median = sorted(batches.elements())[batches.total() // 2]
    return f"{median:,}, {max(batches):,}"


def _draw(console: Console, held_out: HeldOut, answers: list[tuple[int, float]]) -> None:
    """A few digits: those it got wrong first, they are the ones worth a look."""
    order = sorted(range(len(answers)), key=lambda index: (answers[index][0] == held_out.labels[index], answers[index][1]))
    most = max(2, min(_DRAWN, (console.width - 1) // 19))
    hardest = most // 2
    chosen = order[:hardest] + order[-(most - hardest) :]
    captions = [f"{answers[index][0]} ({answers[index][1]:.0%}), is {held_out.labels[index]}" for index in chosen]
    console.print(f"What the fleet said, the {hardest} hardest first:")
    for line in side_by_side([drawn(held_out.images[index]) for index in chosen], captions):
        console.print(f" {line}", highlight=False, markup=False, overflow="ignore", no_wrap=True)


def _go_on(console: Console, held_out: HeldOut) -> None:
    """The lines to paste: they are printed bare, so that a terminal's copy holds nothing else."""
    beside = Path(sys.executable).with_name("penstock")
    penstock = (
        "penstock"
        if shutil.which("penstock")
        else _short(beside)
        if beside.exists()
        else f"{_short(sys.executable)} -m penstock"
    )
    python = _short(sys.executable)
    image = held_out.images[0].astype(int).ravel().tolist()
    job = {"id": "digit-1", "inputs": [{"name": INPUT, "shape": [1, 8, 8], "datatype": "FP32", "data": image}]}
    lines = [
        "# keep a fleet up (in one terminal):",
        f"{python} {_short(train_script())} models/digits/1",
        f"{penstock} up --model digits=models/digits",
        f"# submit a job and read its result (in another; this scan is a {held_out.labels[0]}):",
        f"echo '{orjson.dumps(job).decode()}' | {penstock} submit digits - --wait 10",
        f"{penstock} result digit-1 --json",
    ]
    console.print("\nHow to go on:")
    for line in lines:
        console.file.write(f"{line}\n")
    console.file.flush()


def _short(path: str | Path) -> str:
    """A path as one would type it here."""
    path = Path(path)
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
