"""Owns what a benchmark leaves: one JSON file, and comparing two of them. Pure but for reading and writing the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from penstock.bench.drive import Plan
from penstock.bench.load import ClosedLoop, OpenLoop
from penstock.bench.stages import Breakdown
from penstock.bench.tally import Tally

FORMAT: Final = 1
_NOISE: Final = 0.05
"""What differs by less is called the same: two runs of the same thing differ by as much."""


class NotARecord(ValueError):
    """The file is none that a benchmark has written."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run's figures. Times in milliseconds where the name says so, else seconds."""

    load: str
    asked_rate: float | None
    """Jobs a second; None: a closed loop."""
    callers: int | None
    seconds: float
    submitted: int
    status: dict[str, int]
    errors: dict[str, int]
    jobs_per_s: float
    rows_per_s: float
    latency_ms: dict[str, float]
    """By percentile, from when a job was due until its result was in the caller's hands."""
    mean_ms: float
    late_ms: dict[str, float]
    """How long after they were due this program submitted jobs."""
    batch_rows: tuple[int, int]
    """Median over jobs, and largest."""
    stages_us: dict[str, float | None]
    engines_busy: float
    bound: str
    timeline: list[dict[str, float]]
    histogram: str
    """HdrHistogram's compressed form, in base64, microseconds."""


@dataclass(frozen=True, slots=True)
class Record:
    """All runs of one benchmark, and what they were run with."""

    began: str
    fleet: str
    kinds: list[str]
    versions: dict[str, str]
    machine: dict[str, Any]
    runs: list[RunRecord] = field(default_factory=list[RunRecord])


def run_record(plan: Plan, tally: Tally, told: Breakdown, bound: str) -> RunRecord:
    """One run's figures, from what it counted."""
    load = plan.load
    spent = tally.last_back - tally.first_due
    timeline = [
        {"second": second, "jobs": one.back, "p50_ms": one.latencies.ms(50), "p99_ms": one.latencies.ms(99)}
        for second, one in enumerate(tally.seconds)
    ]
    return RunRecord(
        load=str(load),
        asked_rate=load.rate if isinstance(load, OpenLoop) else None,
        callers=load.callers if isinstance(load, ClosedLoop) else None,
        seconds=plan.seconds,
        submitted=tally.submitted,
        status=dict(tally.status),
        errors=dict(tally.errors.most_common(20)),
        jobs_per_s=tally.rate,
        rows_per_s=tally.rows / spent if spent > 0 else 0.0,
        latency_ms=tally.latencies.percentiles_ms(),
        mean_ms=tally.latencies.mean_ms,
        late_ms=tally.late.percentiles_ms(),
        batch_rows=tally.batch_rows(),
        stages_us=dict(told.stages),
        engines_busy=told.engines_busy,
        bound=bound,
        timeline=timeline,
        histogram=tally.latencies.encoded(),
    )


def write(record: Record, path: Path) -> None:
    """Write ``record`` to ``path``. Raises OSError."""
    path.write_text(json.dumps({"format": FORMAT} | asdict(record), indent=1) + "\n")


def read(path: Path) -> Record:
    """What :func:`write` has written. Raises NotARecord, OSError."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        known = document.pop("format")
        runs = [RunRecord(**(run | {"batch_rows": tuple(run["batch_rows"])})) for run in document.pop("runs")]
        record = Record(**document, runs=runs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotARecord(f"{path} was not written by `penstock bench --json`: {error}") from error
    if known != FORMAT:
        raise NotARecord(f"{path} has format {known}; this version of penstock reads {FORMAT}")
    return record


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of a run in two records. ``better``: None where the difference is no more than noise."""

    load: str
    figure: str
    before: float
    after: float
    better: bool | None

    @property
    def ratio(self) -> float | None:
        """``after`` to ``before``; None where that was 0."""
        return self.after / self.before if self.before else None


def compare(before: Record, after: Record) -> list[Change]:
    """Runs of the same load in both, figure by figure; a load that is in one alone is left out."""
    there = {run.load: run for run in after.runs}
    return [change for run in before.runs if run.load in there for change in _changes(run, there[run.load])]


def alone(before: Record, after: Record) -> Sequence[str]:
    """Loads that only one of the two has."""
    return sorted({run.load for run in before.runs} ^ {run.load for run in after.runs})


def _changes(before: RunRecord, after: RunRecord) -> list[Change]:
    lost = ("failed", "expired", "refused", "unanswered")
    figures = [("jobs/s", before.jobs_per_s, after.jobs_per_s, 1)]
    figures += [(f"p{p} ms", before.latency_ms[p], after.latency_ms.get(p, 0.0), -1) for p in ("50", "99", "99.9")]
    figures += [(one, float(before.status.get(one, 0)), float(after.status.get(one, 0)), -1) for one in lost]
    figures += [
        (f"{name} ms", time / 1e3, later / 1e3, -1)
        for name, time in before.stages_us.items()
        if time is not None and (later := after.stages_us.get(name)) is not None
    ]
    told: list[Change] = []
    for figure, old, new, good in figures:
        if old == new == 0:
            continue
        same = abs(new - old) <= _NOISE * max(abs(old), abs(new))
        told.append(Change(before.load, figure, old, new, None if same else (new > old) == (good > 0)))
    return told
