"""A run submits jobs when they are due, and hears of every one: against the fleet in memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from penstock.bench.drive import Plan, Run, first_jobs
from penstock.bench.load import ClosedLoop, Load, OpenLoop
from penstock.bench.work import Kind, Tensor, Works
from penstock.testing import Fail, FakeFleet

RANDOM = np.random.default_rng(1)


def works(*kinds: Kind) -> Works:
    chosen = kinds or (Kind("m"),)
    return Works(chosen, {kind.model: [Tensor("x", "FP32", (4,))] for kind in chosen}, RANDOM)


def lived(fleet: FakeFleet, load: Load, *, seconds: float = 0.5, chosen: Works | None = None, **plan: Any) -> Run:
    with fleet.client() as client:
        run = Run(client, chosen or works(), Plan(load, seconds, wait=plan.pop("wait", 10.0), **plan), RANDOM)
        run.go(lambda: None)
    return run


def echo(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"y": inputs["x"]}


def test_an_open_loop_submits_what_is_due_and_no_more(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", echo)
    tally = lived(fake_fleet, OpenLoop(100, "constant")).tally
    assert tally.submitted == len(fake_fleet.jobs) == 50
    assert tally.status == {"succeeded": 50}
    assert tally.latencies.count == tally.late.count == 50
    assert tally.in_flight == 0


def test_time_that_a_late_caller_lost_is_counted(fake_fleet: FakeFleet) -> None:
    """Free of coordinated omission: a job that is submitted late has waited since it was due."""
    stalled = iter([True])

    def model(inputs: dict[str, Any]) -> dict[str, Any]:
        if next(stalled, False):
            time.sleep(0.4)  # in the caller's own thread: that is how the fleet in memory works
        return echo(inputs)

    fake_fleet.serve("m", model)
    tally = lived(fake_fleet, OpenLoop(100, "constant")).tally
    assert tally.submitted == 50
    assert tally.late.ms(100) > 300
    assert tally.latencies.ms(50) > 100, "most jobs were due while it stalled"


def test_a_closed_loop_has_so_many_on_their_way(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", echo)
    tally = lived(fake_fleet, ClosedLoop(3), seconds=0.3).tally
    assert tally.submitted > 10
    assert tally.status["succeeded"] == tally.submitted


def test_callers_whose_jobs_wait_submit_nothing(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", echo)
    with fake_fleet.client() as client, fake_fleet.paused():
        run = Run(client, works(), Plan(ClosedLoop(3), 0.3, wait=0.1), RANDOM)
        run.go(lambda: None)
    assert run.tally.submitted == 3
    assert run.tally.status == {"unanswered": 3}
    assert list(run.tally.errors) == ["no outcome within 0.1 s of the last job"]


def test_failures_are_counted_with_their_first_words(fake_fleet: FakeFleet) -> None:
    def model(_: dict[str, Any]) -> dict[str, Any]:
        raise Fail("it does not like these\nat all")

    fake_fleet.serve("m", model)
    tally = lived(fake_fleet, OpenLoop(100, "constant")).tally
    assert tally.status == {"failed": 50}
    assert list(tally.errors.values()) == [50]
    assert next(iter(tally.errors)).endswith("it does not like these")


def test_refused_jobs_are_counted(fake_fleet: FakeFleet) -> None:
    with fake_fleet.refusing("no room"):
        tally = lived(fake_fleet, OpenLoop(100, "constant"), seconds=0.2)
    assert tally.tally.status == {"refused": 20}
    assert all("no room" in error for error in tally.tally.errors)


def test_whoever_looks_may_end_a_run(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", echo)
    with fake_fleet.client() as client:
        run = Run(client, works(), Plan(OpenLoop(5, "constant"), 60.0), RANDOM)
        looks = iter(range(5))

        def check() -> None:
            if next(looks, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.go(check)
    assert run.tally.submitted < 30


def test_the_first_jobs_are_one_of_each_kind(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", echo)
    fake_fleet.serve("n", echo)
    with fake_fleet.client() as client:
        first_jobs(client, works(Kind("m"), Kind("m", 5), Kind("n")), 10)
    sent = sorted((job.model or "", job.inputs["x"].shape[0]) for job in fake_fleet.jobs)
    assert sent == [("m", 1), ("m", 5), ("n", 1)]
