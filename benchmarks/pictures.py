"""Owns the report's pictures: a file for each study that is easier seen than read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.goals import Studies
from benchmarks.results import Found, middle

_OURS: Final = "#1f77b4"
_LIMIT: Final = "#999999"
_PEER: Final = "#d6a45c"
_LIMITS: Final = ("tensorflow", "echo")


def draw(studies: Studies, folder: Path) -> dict[str, str]:
    """Write the pictures into ``folder``; their places beside it, by the study's or the work's name."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    drawn: list[tuple[str, Callable[[Any, Any], None], Any]] = [
        *((name, _rates, found) for name, found in studies.get("rounds", {}).items()),
        *((name, how, studies[name]) for name, how in _STUDIES if name in studies),
    ]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "penstock"}):
        for name, how, found in drawn:
            figure: Any = Figure(figsize=(8, 4), layout="constrained")
            how(figure.subplots(), found)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return {name: f"{folder.name}/{name}.svg" for name, _, _ in drawn}


def _rates(axes: Any, found: Found) -> None:
    """A bar for each subject, the slowest at the bottom; a line from its slowest round to its fastest."""
    names = sorted(found, key=lambda name: middle(found[name], "per_second"))
    widths = [middle(found[name], "per_second") for name in names]
    around = [
        [abs(pick(one["per_second"] for one in found[name]) - width) for name, width in zip(names, widths, strict=True)]
        for pick in (min, max)
    ]
    colors = [_OURS if name == "fleet" else _LIMIT if name in _LIMITS else _PEER for name in names]
    axes.barh(names, widths, xerr=around, color=colors)
    axes.set(xscale="log", xlabel="jobs a second (bare TensorFlow: rows)")
    axes.grid(axis="x", alpha=0.3)


def _latencies(axes: Any, found: Found) -> None:
    """From p50 to p99 for each subject, the quickest on top."""
    names = sorted((name for name in found if name != "tensorflow"), key=lambda name: -middle(found[name], "p50_ms"))
    for name in names:
        low, high = (middle(found[name], key) for key in ("p50_ms", "p99_ms"))
        color = _OURS if name == "fleet" else _PEER
        axes.plot([low, high], [name, name], marker="|", markersize=12, linewidth=4, color=color)
    axes.set(xscale="log", xlabel="ms from due to the result in the caller's hands, p50 to p99")
    axes.grid(axis="x", alpha=0.3)


def _scaling(axes: Any, found: Found) -> None:
    """Jobs/s by workers, and the line of one worker's rate times their number."""
    counts = [int(name) for name in found]
    axes.plot(counts, [middle(rounds, "per_second") for rounds in found.values()], marker="o", color=_OURS, label="measured")
    one = middle(found["1"], "per_second")
    axes.plot(counts, [count * one for count in counts], linestyle=":", color=_LIMIT, label="one worker's, times their number")
    axes.set(xlabel="workers", ylabel="jobs a second")
    axes.legend()
    axes.grid(alpha=0.3)


def _memory(axes: Any, found: Mapping[str, Any]) -> None:
    """MB by jobs done, a line for each process."""
    for kind, style in (("steady", "-"), ("backlog", ":")):
        for role, held in found[kind]["rss_mb"].items():
            axes.plot(found[kind]["done"], held, linestyle=style, label=f"{role}, {kind}")
    axes.set(xlabel="jobs done", ylabel="RSS, MB", ylim=(0, None))
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


_STUDIES: Final = (("quiet", _latencies), ("scaling", _scaling), ("memory", _memory))
