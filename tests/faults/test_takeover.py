"""How long the jobs of a killed worker wait for another one: measured with the settings that a fleet has by default."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from tests.faults.harness import Fleet
from tests.faults.jobs import Kind, make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SOAK, conclude, earlier_than, in_turn, options
from tests.faults.subjects import JOINING, TAKEOVER, last_outcome
from tests.faults.trials import Trial, commit, record

from penstock_schemas.settings import KafkaSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

    from penstock_schemas.settings import Settings

SESSION: Final = KafkaSettings().session_timeout
WITHIN: Final = 10.0
"""Seconds in which that must be: a later one is no clean trial. Engines are not taken over: the other workers' are up."""
JOINING_WITHIN: Final = WITHIN + SESSION
"""The same where a worker is killed in the middle of a rebalance. Of its two members, one may have joined anew and the other
not: Kafka waits a session for that one, completes the rebalance, and waits another session for the first."""
_AT_REST: Final = 2.5
"""Seconds in which a rebalance that is due has begun: more than two heartbeats."""


@pytest.mark.soak
@in_turn("takeover")
@pytest.mark.timeout(900 if SOAK else 200)
def test_a_killed_workers_jobs_are_taken_over(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    chosen = settings(**options(tmp_path, session_timeout=SESSION))
    make_topics(chosen)
    live(chosen, tmp_path, TAKEOVER, WITHIN, (partial(_moves, chosen) for _ in range(ROUNDS)))


@pytest.mark.soak
@in_turn("takeover")
@pytest.mark.timeout(900 if SOAK else 200)
def test_a_worker_is_killed_while_another_joins(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    chosen = settings(**options(tmp_path, session_timeout=SESSION))
    make_topics(chosen)
    moments = Random(SEED)
    live(chosen, tmp_path, JOINING, JOINING_WITHIN, (partial(_waits, moments.uniform(0.0, 1.5)) for _ in range(ROUNDS)))


def _moves(chosen: Settings) -> Callable[[], bool]:
    """Whether the group has been shared out anew a moment ago, or is about to be; to be asked again and again."""
    group = chosen.names.workers_group
    admin: Any = AdminClient({"bootstrap.servers": chosen.kafka.bootstrap_servers, "log_level": 0})
    before: object = None
    since = 0.0

    def moves() -> bool:
        nonlocal before, since
        told = admin.describe_consumer_groups([group])[group].result(10)
        shares = {(one.member_id, tuple(sorted(map(str, one.assignment.topic_partitions)))) for one in told.members}
        if told.state != ConsumerGroupState.STABLE or shares != before:
            before, since = shares, time.monotonic()
        return earlier_than(since + _AT_REST)

    return moves


def _waits(seconds: float) -> Callable[[], bool]:
    """Whether so much time has not passed yet since now."""
    return partial(earlier_than, time.monotonic() + seconds)


def live(chosen: Settings, folder: Path, fault: str, within: float, whens: Iterable[Callable[[], Callable[[], bool]]]) -> None:
    """Kill one of three workers after another, each once what its turn of ``whens`` gives holds no more, and add a new one."""
    jobs = make_jobs(SEED, 10**7, {Kind.ORDINARY: 1})
    killed: list[float] = []
    members = ["worker-1", "worker-2", "worker-3", "projector-1"]
    with Fleet(chosen, folder) as fleet, Life(fleet, SEED) as life:
        life.begin(members)
        for number, when in enumerate(whens):
            life.live_while(when(), jobs, rate=600, besides=lambda: None)
            victim = fleet.members[f"worker-{number + 1}"]
            killed.append(time.time() * 1000)
            victim.killed = True
            victim.process.kill()
            fleet.deaths += 1
            life.recoveries.add(fault, life.accepted)
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
        record([Trial(last_outcome(fault), SEED, tested, clean=seconds <= within, jobs=verdict.accepted, recovery=seconds)])
