"""Owns the goals: what the fleet is to reach beside a limit or a peer of the same rounds, and what it did reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.failing import FAILING, GOOD
from benchmarks.results import Figures, Found, middle, ratios

OURS: Final = ("parent", "engine", "projector")
Studies = Mapping[str, Any]
"""The results of each study by its name, as they are in its file."""


@dataclass(frozen=True, slots=True)
class Goal:
    """``value`` takes the studies' results. Raises KeyError or IndexError where what it needs was not measured.

    ``at_most``: whether less is better.
    """

    work: str
    what: str
    bound: float
    value: Callable[[Studies], float]
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


def own_cpu(rounds: list[Figures]) -> float:
    """µs of CPU a job, of all our processes."""
    return sum(middle(rounds, "cpu_us", role) for role in OURS)


def beside(work: str, other: str) -> Callable[[Studies], float]:
    """The fleet's rate to another subject's, round by round; the median."""

    def value(studies: Studies) -> float:
        found: Found = studies["rounds"][work]
        return median(ratios(found["fleet"], found[other]))

    return value


def _json(studies: Studies) -> float:
    found: Mapping[str, Found] = studies["rounds"]
    return middle(found["json"]["fleet"], "per_second") / middle(found["mlp"]["fleet"], "per_second")


def _scaling(studies: Studies) -> float:
    found: Found = studies["scaling"]
    return median(ratios(found["8"], found["1"]))


def _held(role: str) -> Callable[[Studies], float]:
    """The most that a role's process held over a million jobs, in MB."""
    return lambda studies: max(max(studies["memory"][kind]["rss_mb"][role]) for kind in ("steady", "backlog"))


_MLP: Final = "MLP, one row a job, out of a backlog"
_LOW: Final = "50 jobs a second, the machine otherwise idle"
GOALS: Final = (
    Goal(_MLP, "the hand-written loop's rate", 1.4, beside("mlp", "loop")),
    Goal(_MLP, "a bare echo's rate", 0.7, beside("mlp", "echo")),
    Goal(_MLP, "mosec's rate", 3, beside("mlp", "mosec")),
    Goal(_MLP, "celery-batches' rate", 70, beside("mlp", "celery-batches")),
    Goal(_MLP, "CPU of all our processes, µs a job", 9, lambda studies: own_cpu(studies["rounds"]["mlp"]["fleet"]), True),
    Goal("the same, JSON with headers", "the rate of the row above", 0.5, _json),
    Goal("small CNN, 12 KiB", "bare TensorFlow's rate", 0.9, beside("cnn", "tensorflow")),
    Goal("MobileNetV2, 600 KB", "bare TensorFlow's rate", 0.95, beside("mobilenet", "tensorflow")),
    Goal(_LOW, "p50, ms", 2.5, lambda studies: middle(studies["quiet"]["fleet"], "p50_ms"), True),
    Goal(_LOW, "p99, ms", 6, lambda studies: middle(studies["quiet"]["fleet"], "p99_ms"), True),
    Goal(
        "three times overload, deadlines",
        "the peak's rate, in time",
        0.95,
        lambda studies: middle(studies["overload"], "of_peak"),
    ),
    Goal("20 ms a batch, 8 workers", "one worker's rate", 7.6, _scaling),
    Goal("a million jobs", "the parent, MB", 80, _held("parent"), True),
    Goal("a million jobs", "the projector, MB", 80, _held("projector"), True),
    Goal(
        "a million jobs",
        "the engine, of bare TensorFlow with the model",
        1.1,
        lambda studies: _held("engine")(studies) / studies["memory"]["bare_mb"],
        True,
    ),
    Goal(
        "start",
        "the first result, of bare import, load and call",
        1.3,
        lambda studies: median(
            ours["first_result_s"] / bare["first_result_s"]
            for ours, bare in zip(studies["quiet"]["fleet"], studies["quiet"]["tensorflow"], strict=True)
        ),
        True,
    ),
    Goal(
        "5 % of the jobs fail",
        "the rate without failures",
        0.9,
        lambda studies: median(ratios(studies["failing"][FAILING], studies["failing"][GOOD])),
    ),
)
