"""Owns how a benchmark looks in a terminal: while it runs, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from penstock.bench.drive import Run
from penstock.bench.record import Change, Record, RunRecord
from penstock.bench.stages import SINGLE

_BARS: Final = "▁▂▃▄▅▆▇█"
_SECONDS: Final = 60
_EVERY: Final = 0.2
_LOST: Final = ("failed", "expired", "refused", "unanswered")


class Live:
    """What happens, in a few lines that stay where they are; where nobody looks, nothing."""

    def __init__(self, console: Console, run: Run) -> None:
        self._run = run
        self._live = RichLive(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._due = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def look(self) -> None:
        """Show how things stand, now and then."""
        now = time.monotonic()
        if self._live is not None and now >= self._due:
            self._due = now + _EVERY
            self._live.update(self._shown(now - self._began), refresh=True)

    def _shown(self, seconds: float) -> RenderableType:
        tally, plan = self._run.tally, self._run.plan
        back = [second.back for second in tally.seconds]
        lost = sum(tally.status[name] for name in _LOST)
        lines = [
            Text(f"{plan.load}   {min(seconds, plan.seconds):.0f} of {plan.seconds:.0f} s", style="bold"),
            Text(
                f"submitted {tally.submitted:,}   back {tally.status['succeeded']:,}   in flight {tally.in_flight:,}   "
                f"not succeeded {lost:,}",
                style="red" if lost else "",
            ),
            Text(
                f"p50 {tally.latencies.ms(50):,.1f} ms   p99 {tally.latencies.ms(99):,.1f} ms   "
                f"submitted late by (p99) {tally.late.ms(99):,.1f} ms"
            ),
            Text(f"results a second {_spark(back[-_SECONDS:])} {back[-2] if len(back) > 1 else 0:,}"),
        ]
        return Group(*lines)


def print_runs(console: Console, record: Record) -> None:
    """A row for each run, where the time of each went, and what bounded it."""
    table = Table(title=f"fleet {record.fleet}: {', '.join(record.kinds)}", title_justify="left")
    table.add_column("load")
    for head in ("results/s", "p50", "p90", "p99", "p99.9", "worst", "late p99", "rows a batch", "not succeeded"):
        table.add_column(head, justify="right")
    for run in record.runs:
        table.add_row(*_row(run))
    console.print(table)
    console.print(
        "[dim]Milliseconds from when a job was due (open loop) or submitted (closed loop) until its result was in the caller's "
        "hands. late: how long after they were due this program submitted jobs; it is part of these times.[/dim]"
    )
    _print_stages(console, record)
    for run in record.runs:
        console.print(f"[bold]{escape(run.load)}[/bold]: bound by {escape(run.bound)}." if _bound(run) else _kept(run))
        for error, times in list(run.errors.items())[:5]:
            console.print(f"  [red]{times:,} ×[/red] {escape(error)}")


def print_changes(console: Console, changes: Sequence[Change]) -> None:
    """A row for each figure of each load: before, after, and whether that is better."""
    table = Table(title_justify="left")
    table.add_column("load")
    table.add_column("figure")
    for head in ("before", "after", "after/before"):
        table.add_column(head, justify="right")
    table.add_column("")
    for change in changes:
        ratio = "–" if change.ratio is None else f"{change.ratio:.2f}"
        told = {None: "the same", True: "[green]better[/green]", False: "[red]worse[/red]"}[change.better]
        table.add_row(escape(change.load), change.figure, f"{change.before:,.1f}", f"{change.after:,.1f}", ratio, told)
    console.print(table)


def _row(run: RunRecord) -> list[str]:
    lost = ", ".join(f"{run.status[name]:,} {name}" for name in _LOST if run.status.get(name))
    times = [f"{run.latency_ms[name]:,.1f}" for name in ("50", "90", "99", "99.9", "100")]
    middle, most = run.batch_rows
    return [run.load, f"{run.jobs_per_s:,.0f}", *times, f"{run.late_ms['99']:,.1f}", f"{middle:,}, {most:,}", lost or "–"]


def _print_stages(console: Console, record: Record) -> None:
    table = Table(title="where a job's time went: mean, ms", title_justify="left")
    table.add_column("stage")
    for run in record.runs:
        table.add_column(run.load, justify="right")
    table.add_column("")
    for name, what in SINGLE.items():
        times = [run.stages_us.get(name) for run in record.runs]
        if any(time is not None for time in times):
            table.add_row(name, *("–" if time is None else f"{time / 1e3:,.2f}" for time in times), f"[dim]{what}[/dim]")
    console.print(table)


def _bound(run: RunRecord) -> bool:
    return not run.bound.startswith(("nothing", "the fleet", "no job"))


def _kept(run: RunRecord) -> str:
    return f"[bold]{escape(run.load)}[/bold]: {escape(run.bound)}."


def _spark(values: Sequence[int]) -> str:
    most = max(values, default=0) or 1
    return "".join(_BARS[min(len(_BARS) - 1, value * len(_BARS) // (most + 1))] for value in values)
