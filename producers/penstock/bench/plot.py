"""Owns the picture of a benchmark: throughput against latency, latency over time, and where the time went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.bench.record import Record, RunRecord
from penstock.bench.stages import SINGLE


def plot(record: Record, path: Path) -> None:
    """Draw ``record`` into ``path``, in the form that its ending says. Raises ImportError without matplotlib, ValueError."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(15, 4.5), layout="constrained")
    against, over, went = figure.subplots(1, 3)
    _throughput(against, record.runs)
    _over_time(over, record.runs)
    _stages(went, record.runs)
    figure.suptitle(f"fleet {record.fleet}: {', '.join(record.kinds)}; {record.began}", fontsize=10)
    figure.savefig(path)


def _throughput(axes: Any, runs: list[RunRecord]) -> None:
    rates = [run.jobs_per_s for run in runs]
    for percentile in ("50", "99", "99.9"):
        axes.plot(rates, [run.latency_ms[percentile] for run in runs], marker="o", label=f"p{percentile}")
    axes.set(title="latency against throughput", xlabel="results a second", ylabel="due to result, ms", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)


def _over_time(axes: Any, runs: list[RunRecord]) -> None:
    for run in runs:
        seconds = [point["second"] for point in run.timeline if point["jobs"]]
        (line,) = axes.plot(seconds, [point["p50_ms"] for point in run.timeline if point["jobs"]], label=run.load)
        worst = [point["p99_ms"] for point in run.timeline if point["jobs"]]
        axes.plot(seconds, worst, color=line.get_color(), linestyle=":")
    axes.set(title="latency over time (p50, dotted p99)", xlabel="seconds", ylabel="due to result, ms", yscale="log")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _stages(axes: Any, runs: list[RunRecord]) -> None:
    names = [run.load for run in runs]
    left = [0.0] * len(runs)
    for stage in SINGLE:
        widths = [max(run.stages_us.get(stage) or 0.0, 0.0) / 1e3 for run in runs]
        axes.barh(names, widths, left=left, label=stage)
        left = [at + width for at, width in zip(left, widths, strict=True)]
    axes.set(title="where a job's time went (mean)", xlabel="ms")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(fontsize=7)
