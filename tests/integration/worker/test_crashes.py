"""Engines that die: their jobs still get outcomes, the guilty are found, and nobody else pays with theirs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from tests.backends.numpy_models import CRASHES, EATS, FLAKY_CRASH, HANGS, NAN, NO_MEMORY, REFUSED
from tests.integration.worker.fleet import Fleet, MakeFleet, WorkerProcess, job, names
from tests.support import eventually

MIB = 1024 * 1024


def engine(worker: WorkerProcess) -> psutil.Process | None:
    """A new worker's engine, once it is there; its spare goes less far by itself."""
    children = psutil.Process(worker.process.pid).children()
    return next((child for child in children if child.cmdline()[-1] == "serving"), None)


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


def test_jobs_that_kill_their_engines_end_after_the_second_time_alone_and_their_neighbours_succeed(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet(
        timeout=3.0, worker={"engine_memory": 250 * MIB, "spare": "imported"}, retry={"tiers": ["1s"], "attempts": 4}
    )
    worker = fleet.start().ready()
    jobs = publish(fleet, "j", [1, 2, CRASHES, 4, REFUSED, HANGS, NAN, 8, EATS, 10])
    outcomes = fleet.outcomes(*jobs)
    codes = {2: "engine_crash", 4: "model_error", 5: "engine_timeout", 6: "non_finite_output", 8: "out_of_memory"}
    assert {place: outcome.error_code for place, outcome in enumerate(outcomes) if outcome.error_code} == codes
    assert [outcome.attempts for outcome in outcomes] == [2 if place in {2, 5, 8} else 1 for place in range(10)]
    assert "ran this job alone: ended by SIGKILL" in (outcomes[2].error or "")
    letters = fleet.letters("j-2", "j-5", "j-8")
    assert [letters[f"j-{place}"].value() for place in (2, 5, 8)] == [job(CRASHES), job(HANGS), job(EATS)]
    eventually(lambda: len(worker.lines("engine replaced")) == len(worker.lines("engine died")), "each engine is replaced")
    eventually(lambda: fleet.committed() == fleet.ends(), "what killed engines is behind us")


def test_a_job_that_crashes_its_engine_once_succeeds(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet(marks=tmp_path, retry={"tiers": ["1s"]})
    fleet.start().ready()
    (one,) = publish(fleet, "j", [FLAKY_CRASH])
    outcome = fleet.outcome(one)
    assert (outcome.status, outcome.attempts) == ("succeeded", 2), "it was alone: that cost it an attempt"
    jobs = publish(fleet, "k", [1, NO_MEMORY, 3])
    assert [outcome.error_code for outcome in fleet.outcomes(jobs[0], jobs[2])] == [None, None]
