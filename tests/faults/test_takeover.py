"""How long the jobs of a killed worker wait for another one: measured with the settings that a fleet has by default."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.harness import Fleet
from tests.faults.jobs import Kind, make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SOAK, conclude, earlier_than, in_turn, options
from tests.faults.subjects import LAST_OUTCOME, TAKEOVER
from tests.faults.trials import Trial, commit, record

from penstock_schemas.settings import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

WITHIN: Final = 10.0
"""Seconds in which that must be: a later one is no clean trial. Engines are not taken over: the other workers' are up."""


@pytest.mark.soak
@in_turn("takeover")
@pytest.mark.timeout(900 if SOAK else 200)
def test_a_killed_workers_jobs_are_taken_over(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    usual = options(tmp_path, session_timeout=KafkaSettings().session_timeout)
    chosen = settings(**usual)
    make_topics(chosen)
    jobs = make_jobs(SEED, 10**7, {Kind.ORDINARY: 1})
    killed: list[float] = []
    members = ["worker-1", "worker-2", "worker-3", "projector-1"]
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        life.begin(members)
        for number in range(ROUNDS):
            second = time.monotonic() + 1.0
            life.live_while(partial(earlier_than, second), jobs, rate=600, besides=lambda: None)
            victim = fleet.members[f"worker-{number + 1}"]
            killed.append(time.time() * 1000)
            victim.killed = True
            victim.process.kill()
            fleet.deaths += 1
            life.recoveries.add(TAKEOVER, life.accepted)
            life.until(lambda: life.recoveries.over, "the killed worker's jobs are done")
            fleet.add(f"worker-{number + 4}")
            life.wait_ready([f"worker-{number + 4}"])
        verdict = conclude(fleet, life)
    tested = commit()
    for at in killed:
        before = {(job.partition, job.offset) for job in life.accepted if job.time_ms < at}
        firsts = [
            min(one.record.time_ms for one in many) for place, many in verdict.account.by_place.items() if place in before
        ]
        seconds = (max(firsts) - at) / 1000
        fleet.say(f"the last job of the killed worker had its outcome after {seconds:.1f} s")
        record([Trial(LAST_OUTCOME, SEED, tested, clean=seconds <= WITHIN, jobs=verdict.accepted, recovery=seconds)])
