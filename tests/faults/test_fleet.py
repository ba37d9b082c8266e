"""A fleet of several workers and projectors keeps its promises while they are killed, frozen, drained and added.

Every run has a seed, which it prints: ``FAULTS_SEED=… make test-faults`` has the same jobs and the same faults again.
"""

from __future__ import annotations

import os
import secrets
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.backends.numpy_models import write_model
from tests.faults.checker import Verdict
from tests.faults.harness import Fleet
from tests.faults.jobs import MODEL, Job, Kind, make_jobs
from tests.faults.life import Life
from tests.faults.schedule import Fault, Step, first_members, make_schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support import KafkaFactory, MakeTopics, RedisFactory, SettingsFactory

SOAK: Final = os.environ.get("SOAK") == "1"
SEED: Final = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(10**6))
SESSION: Final = 3.0
"""How long the groups wait for a silent member, in seconds: as little as stays above a busy machine's own gaps."""
QUIET_WITHIN: Final = 60.0
MUTANT: Final = os.environ.get("FAULTS_MUTANT")
"""A folder with a broken copy of penstock_worker, to see that these tests fail."""


def options(folder: Path, **kafka: Any) -> dict[str, Any]:
    """Settings under which much is in flight at any moment: small deliveries, small batches, a model that takes its time."""
    return {
        "kafka": kafka,
        "topics": {"job_partitions": 6, "outcome_partitions": 4},
        "worker": {"backend": "numpy_models", "devices": "cpu", "window": 2, "delivery_records": 256, "revoke_grace": 2.0},
        "models": {MODEL: {"path": str(write_model(folder / "model", batch_seconds=0.08)), "max_batch_rows": 16}},
    }


def live(
    fleet: Fleet,
    members: Sequence[str],
    steps: Sequence[Step],
    *,
    jobs: Iterator[Job],
    count: int,
    seconds: float,
    quiet_within: float = QUIET_WITHIN,
) -> Verdict:
    """One fleet's life, from ``members`` that are there first to a drain of all; fails where a promise was broken."""
    seed = f"seed {SEED}"
    fleet.say(f"{seed}: {count} jobs over {seconds:g} s")
    with Life(fleet, SEED) as life:
        for name in members:
            fleet.add(name)
        life.wait_ready(members)
        life.live(jobs, count, steps, seconds)
        life.wait_quiet(quiet_within)
        troubles = fleet.drain_all()
        verdict = Verdict(life.evidence())
        report = "\n".join([f"{seed}: {verdict}", *troubles])
        fleet.say(report)
        assert not life.refused
        assert len(life.accepted) >= count
    assert not verdict.breaches, report
    assert not troubles, report
    return verdict


@pytest.mark.soak
@pytest.mark.timeout(2400 if SOAK else 200)
def test_promises_hold_whatever_fails(
    own_kafka: KafkaFactory, own_redis: RedisFactory, settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    count, seconds = (200_000, 600.0) if SOAK else (12_000, 40.0)
    kafka = own_kafka(config={"group.min.session.timeout.ms": "1000"})
    redis = own_redis()
    chosen = settings(redis={"url": redis.url}, **options(tmp_path, bootstrap_servers=kafka.bootstrap, session_timeout=SESSION))
    make_topics(chosen)
    schedule = make_schedule(SEED, seconds, session=SESSION)
    with Fleet(chosen, tmp_path, redis=redis, mutant=MUTANT) as fleet:
        jobs, quiet_within = make_jobs(SEED, count), 300.0 if SOAK else QUIET_WITHIN
        live(fleet, first_members(), schedule, jobs=jobs, count=count, seconds=seconds, quiet_within=quiet_within)


@pytest.mark.timeout(150)
def test_drains_repeat_nothing(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    usual = options(tmp_path)
    # What is with an engine when a partition moves must be done within the grace, or the partition's next owner repeats it.
    chosen = settings(**usual | {"worker": usual["worker"] | {"revoke_grace": 15.0}})
    make_topics(chosen)
    steps = [
        Step(1.0, Fault.DRAIN, "worker-1"),
        Step(2.0, Fault.ADD, "worker-4"),
        Step(3.5, Fault.DRAIN, "projector-1"),
        Step(4.0, Fault.DRAIN, "worker-2"),
        Step(5.0, Fault.ADD, "worker-5"),
        Step(7.0, Fault.ADD, "worker-6"),
        Step(8.0, Fault.DRAIN, "worker-3"),
    ]
    with Fleet(chosen, tmp_path, mutant=MUTANT) as fleet:
        verdict = live(fleet, first_members(), steps, jobs=make_jobs(SEED, 4_000), count=4_000, seconds=10.0)
    assert verdict.repeated == 0


@pytest.mark.timeout(150)
def test_a_job_that_kills_its_engine_costs_its_own_tries_alone(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    chosen = settings(**options(tmp_path))
    make_topics(chosen)
    members = ["worker-1", "worker-2", "projector-1"]
    others = make_jobs(SEED, 2_000)
    jobs = chain(islice(others, 500), make_jobs(SEED, 2, {Kind.CRASHES: 1}), others)
    with Fleet(chosen, tmp_path, mutant=MUTANT) as fleet:
        live(fleet, members, [], jobs=jobs, count=2_000, seconds=3.0)
