"""A fleet of several workers and projectors keeps its promises while they are killed, frozen, drained and added.

In ``make test`` the same life has a sample of what may become of Kafka and Redis.

Every run has a seed, which it prints: ``FAULTS_SEED=… make test-faults`` has the same jobs and the same faults again.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import pytest
from tests.faults.deck import FLEET, KAFKA, REDIS, Fault
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SESSION, SOAK, conclude, earlier_than, in_turn, live, options
from tests.faults.schedule import WORKERS, Step, first_members, make_schedule
from tests.faults.subjects import DRAINED, TWICE
from tests.faults.trials import Trial, commit, record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import SiteFactory, SiteSettings
    from tests.support import MakeTopics, SettingsFactory


@pytest.mark.soak
@pytest.mark.timeout(900 if SOAK else 200)
def test_promises_hold_whatever_fails(own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path) -> None:
    # In a soak Redis and Kafka have lives of their own, which hold more.
    deck = FLEET if SOAK else (*FLEET, *KAFKA, *REDIS)
    count, seconds = (60_000, 180.0) if SOAK else (3_500, 20.0)
    site = own_site()
    schedule = make_schedule(SEED, seconds, deck, session=SESSION, links=list(site.links))
    with Fleet(site_settings(site), tmp_path, site=site) as fleet:
        jobs = make_jobs(SEED, count, TRIED)
        live(fleet, first_members(), schedule, jobs=jobs, count=count, seconds=seconds, besides=site.finish)


@pytest.mark.soak
@pytest.mark.timeout(300 if SOAK else 150)
def test_drains_repeat_nothing(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    usual = options(tmp_path)
    # What is with an engine when a partition moves must be done within the grace, or the partition's next owner repeats it.
    chosen = settings(**usual | {"worker": usual["worker"] | {"revoke_grace": 15.0}})
    make_topics(chosen)
    steps = [
        Step(1.0, Fault.DRAIN_WORKER, "worker-1"),
        Step(2.0, Fault.ADD, "worker-4"),
        Step(3.0, Fault.DRAIN_PROJECTOR, "projector-1"),
        Step(3.5, Fault.DRAIN_WORKER, "worker-2"),
        Step(4.0, Fault.ADD, "worker-5"),
        Step(5.0, Fault.ADD, "worker-6"),
        Step(6.0, Fault.DRAIN_WORKER, "worker-3"),
    ]
    with Fleet(chosen, tmp_path) as fleet:
        verdict = live(fleet, first_members(), steps, jobs=make_jobs(SEED, 3_000), count=3_000, seconds=7.5)
    clean, tested = verdict.repeated == 0, commit()
    drains = [step for step in steps if step.fault is not Fault.ADD]
    record(Trial(DRAINED, SEED, tested, clean=clean, jobs=verdict.accepted) for _ in drains)
    assert clean


@pytest.mark.soak
@in_turn("jobs submitted twice")
@pytest.mark.timeout(600 if SOAK else 200)
def test_jobs_that_are_submitted_twice_have_one_result(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    """At once, when the first is under way, and when it has its result; with another model's answer it would show."""
    chosen = settings(**options(tmp_path))
    make_topics(chosen)
    jobs = make_jobs(SEED, 10**7, TRIED, repeated=0.0)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        members = first_members()
        life.begin(members)
        for number in range(ROUNDS):
            burst = list(islice(jobs, 60))
            life.submit(chain(burst, burst))
            if number % 2:
                fleet.kill_engines(members[number % WORKERS])
            life.live_while(partial(earlier_than, time.monotonic() + 0.5), iter(()), rate=0, besides=lambda: None)
            life.submit(burst)
            life.flush()
            life.recoveries.add(TWICE, life.accepted)
            life.until(lambda: life.recoveries.over, "they have their results")
            life.submit(burst)
            life.flush()
        verdict = conclude(fleet, life)
    assert verdict.accepted == ROUNDS * 240
