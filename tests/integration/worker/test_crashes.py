"""Engines that die: their jobs still get outcomes, the guilty are found, and nobody else pays with theirs."""

from __future__ import annotations

import os
import signal

import psutil
from tests.integration.worker.fleet import Fleet, MakeFleet, WorkerProcess, job, names
from tests.support import eventually

CRASHES, NO_MEMORY, REFUSED, NAN = -2.0, -3.0, -1.0, -4.0
"""What tests/backends/numpy_models.py does not stand."""


def engine(worker: WorkerProcess) -> psutil.Process | None:
    """The worker's engine child, once it is there."""
    children = psutil.Process(worker.process.pid).children()
    return next((child for child in children if "penstock_worker.engine" in child.cmdline()), None)


def publish(fleet: Fleet, prefix: str, values: list[float]) -> list[str]:
    """Jobs with these values, all in one partition."""
    for number, value in enumerate(values):
        fleet.publish(job(value), f"{prefix}-{number}", partition=0)
    fleet.flush()
    return names(prefix, range(len(values)))


def test_jobs_of_an_engine_that_is_killed_get_outcomes(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(batch_seconds=0.2, worker={"delivery_records": 4})
    worker = fleet.start().ready()
    jobs = publish(fleet, "j", [1.0] * 24)
    fleet.outcome("j-0")
    victim = engine(worker)
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    outcomes = fleet.outcomes(*jobs)
    assert [outcome.status for outcome in outcomes] == ["succeeded"] * 24
    assert {outcome.attempts for outcome in outcomes} <= {1, 2}
    assert sorted(map(str, fleet.answered())) == sorted(jobs), "what was answered before is not answered again"
    assert len(worker.lines("engine died")) == 1
    assert worker.drain() == 0
    assert fleet.committed() == fleet.ends()


def test_a_job_that_crashes_its_engine_is_ended_after_three_attempts_and_its_neighbours_succeed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    worker = fleet.start().ready()
    jobs = publish(fleet, "j", [1, 2, CRASHES, 4, REFUSED, NO_MEMORY, NAN, 8])
    outcomes = fleet.outcomes(*jobs)
    codes = [None, None, "engine_crash", None, "model_error", "out_of_memory", "non_finite_output", None]
    assert [outcome.error_code for outcome in outcomes] == codes
    assert (outcomes[2].attempts, len(worker.lines("engine died"))) == (3, 3)
    assert "the engine died while it ran this job, 3 times" in (outcomes[2].error or "")
    letter = fleet.letters("j-2")["j-2"]
    assert letter.value() == job(CRASHES)
    eventually(lambda: fleet.committed() == fleet.ends(), "the crashing job is behind us")
