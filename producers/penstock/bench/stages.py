"""Owns where a run's time went, and what bounded it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.bench.drive import Plan
from penstock.bench.load import ClosedLoop
from penstock.bench.tally import StageSums, Tally

SINGLE: Final = {
    "publish": "from when it was due until the broker had it",
    "queue": "in the jobs topic, until a worker had it",
    "decode": "its bytes to tensors",
    "wait": "for the batch to fill, and for the engine",
    "infer": "its batch, in the model",
    "encode": "its batch's results to bytes",
    "settle": "until the broker had the outcome",
    "project": "from the outcomes topic through Redis into the caller's hands",
}
"""A job's stages, in order, and what each is."""
_BUSY: Final = 0.75
"""An engine that computes for so much of the time does little else."""
_GROWS: Final = 1.5
_LATE: Final = 0.25
_LATE_MS: Final = 5.0
_MOST_OF_IT: Final = 0.4


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Mean time of a job in each stage, in microseconds; None: nobody could tell. ``total``: from due to result."""

    stages: dict[str, float | None]
    total: float
    jobs: int
    """So many were looked into."""
    engines_busy: float
    """How many engines' time went into inference: 0.9 is one that computes for nine tenths of the time."""


def break_down(tally: Tally, publish: float | None, project: float | None) -> Breakdown:
    """``publish`` and ``project``: the mean seconds of these two, None where there was nothing to learn them from."""
    sums = tally.stages
    means = sums.means_us()
    stages: dict[str, float | None] = {name: means.get(name) for name in SINGLE}
    total = sums.total / sums.jobs if sums.jobs else 0.0
    if publish is not None and project is not None and means:
        stages["publish"], stages["project"] = publish * 1e6, project * 1e6
        stages["settle"] = total - sum(stages[name] or 0.0 for name in SINGLE if name != "settle")
    spent = tally.last_back - tally.first_due
    scale = tally.status["succeeded"] / sums.jobs if sums.jobs else 0.0
    busy = sums.busy * scale / (spent * 1e6) if spent > 0 else 0.0
    return Breakdown(stages, total, sums.jobs, busy)


def verdict(tally: Tally, plan: Plan, told: Breakdown) -> str:
    """One sentence: what bounded this run, or that nothing did and where most of the time went."""
    if not tally.status["succeeded"]:
        return "no job succeeded: there is nothing to judge"
    late, whole = tally.late.ms(99), tally.latencies.ms(99)
    if late > max(_LATE * whole, _LATE_MS) and not _lets_callers_wait(plan):
        return (
            f"this program: it submitted one job in a hundred {late:,.1f} ms late or more. "
            "Run it on a machine of its own, or several of it"
        )
    if told.engines_busy >= _BUSY and (_grew(tally, "queue") or _lets_callers_wait(plan)):
        return (
            f"inference: {told.engines_busy:.2f} engines' time went into the model. "
            "More engines (workers, GPUs), a larger max_batch_rows, or a faster model"
        )
    if _grew(tally, "queue"):
        return (
            f"the workers, and not their models ({told.engines_busy:.2f} engines' time went into these): jobs waited ever "
            "longer in the jobs topic. Look at the cores that workers, Kafka and Redis share, then start more workers"
        )
    if _grew(tally, "wait"):
        return "the engines: jobs waited longer and longer for their batch"
    if _rest_grew(tally):
        return "what comes after the workers: outcomes took longer and longer to Kafka, and through the projector to Redis"
    known = {name: time for name, time in told.stages.items() if time is not None}
    if not known or not told.total:
        return "nothing that shows: the fleet kept up"
    name = max(known, key=lambda stage: known[stage])
    share = known[name] / told.total
    kept = "the fleet answered as fast as its callers asked" if _lets_callers_wait(plan) else "nothing: the fleet kept up"
    most = f"; most of a job's time is {name}, {SINGLE[name]}" if share >= _MOST_OF_IT else ""
    return f"{kept}{most}"


def _lets_callers_wait(plan: Plan) -> bool:
    return isinstance(plan.load, ClosedLoop)


def _grew(tally: Tally, stage: str) -> bool:
    """Whether jobs of the second half spent much longer in a stage than those of the first, and most of their time."""
    first, second = (sums.means_us().get(stage, 0.0) for sums in tally.halves)
    whole = _mean_total(tally.halves[1])
    return second > _GROWS * first and second > _MOST_OF_IT * whole and second - first > 1000


def _rest_grew(tally: Tally) -> bool:
    first, second = (_mean_total(sums) - sum(sums.means_us().values()) for sums in tally.halves)
    return second > _GROWS * first and second > _MOST_OF_IT * _mean_total(tally.halves[1]) and second - first > 1000


def _mean_total(sums: StageSums) -> float:
    return sums.total / sums.jobs if sums.jobs else 0.0
