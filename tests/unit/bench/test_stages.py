"""Where the time went, and what bounded a run."""

from __future__ import annotations

import pytest

from penstock.bench.drive import Plan
from penstock.bench.load import ClosedLoop, OpenLoop
from penstock.bench.stages import Breakdown, break_down, verdict
from penstock.bench.tally import Tally
from penstock_schemas.outcomes import Outcome, Timings

OPEN = Plan(OpenLoop(100), 10.0)


def run(first: Timings, second: Timings, *, totals: tuple[float, float], jobs: int = 1000, late: float = 0.0) -> Tally:
    """A run of ``jobs`` in ten seconds; timings and seconds from due to result of its first and second half."""
    tally = Tally()
    for number in range(jobs):
        half = number * 2 >= jobs
        due = number * 10 / jobs
        tally.submitted += 1
        tally.late.add(late)
        total = totals[half]
        tally.look_into(Outcome("x", "succeeded", timings=(first, second)[half]), 1, total, second_half=half)
        tally.back(due + total, due, "succeeded", 1)
    return tally


def told(tally: Tally, plan: Plan = OPEN) -> str:
    return verdict(tally, plan, break_down(tally, None, None))


def test_what_nobody_saw_is_not_made_up() -> None:
    tally = run(*[Timings(1000, 100, 200, 300, 100, 1)] * 2, totals=(0.004, 0.004))
    assert break_down(tally, None, None).stages["publish"] is None
    found = break_down(tally, 0.0005, 0.0008)
    assert found.stages["settle"] == pytest.approx(4000 - 1700 - 500 - 800)
    assert found.total == pytest.approx(4000)
    assert sum(time or 0 for time in found.stages.values()) == pytest.approx(found.total)


def test_engines_busy_is_inference_over_time() -> None:
    tally = run(*[Timings(0, 0, 0, 9000, 0, 1)] * 2, totals=(0.01, 0.01))
    assert break_down(tally, None, None).engines_busy == pytest.approx(0.9, rel=0.02)


def test_a_fleet_that_keeps_up_is_told_with_what_takes_longest() -> None:
    tally = run(*[Timings(100, 100, 3000, 300, 100, 1)] * 2, totals=(0.004, 0.004))
    assert told(tally) == "nothing: the fleet kept up; most of a job's time is wait, for the batch to fill, and for the engine"


def test_a_caller_that_is_late_is_named_first() -> None:
    tally = run(*[Timings(100, 100, 100, 9000, 100, 1)] * 2, totals=(0.05, 0.05), late=0.04)
    assert told(tally).startswith("this program: it submitted one job in a hundred 40")


def test_a_growing_queue_before_busy_engines_is_inference() -> None:
    tally = run(Timings(100_000, 0, 0, 9500, 0, 1), Timings(900_000, 0, 0, 9500, 0, 1), totals=(0.11, 0.95))
    assert told(tally).startswith("inference: 0.")


def test_a_growing_queue_before_idle_engines_is_the_workers() -> None:
    tally = run(Timings(100_000, 0, 0, 500, 0, 1), Timings(900_000, 0, 0, 500, 0, 1), totals=(0.11, 0.95))
    assert told(tally).startswith("the workers, and not their models (0.0")


def test_growing_waits_for_a_batch_are_the_engines() -> None:
    tally = run(Timings(0, 0, 100_000, 500, 0, 1), Timings(0, 0, 900_000, 500, 0, 1), totals=(0.11, 0.95))
    assert told(tally).startswith("the engines: ")


def test_what_grows_behind_the_workers_is_the_projector_or_redis() -> None:
    tally = run(*[Timings(100, 100, 100, 500, 100, 1)] * 2, totals=(0.1, 0.9))
    assert told(tally).startswith("what comes after the workers")


def test_callers_who_wait_bound_themselves() -> None:
    tally = run(*[Timings(100, 100, 3000, 300, 100, 1)] * 2, totals=(0.004, 0.004), late=1.0)
    assert told(tally, Plan(ClosedLoop(4), 10.0)).startswith("the fleet answered as fast as its callers asked")
    assert verdict(Tally(), OPEN, Breakdown({}, 0.0, 0, 0.0)).startswith("no job succeeded")
