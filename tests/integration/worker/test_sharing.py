"""Workers that come and go share the jobs of every topic evenly, whatever else they read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.consumer import Intake

if TYPE_CHECKING:
    from tests.support import MakeTopics, SettingsFactory


class _Worker:
    """As much of a worker as its group sees."""

    def __init__(self, settings: Any, name: str) -> None:
        self.held: set[tuple[str, int]] = set()
        self.intake = Intake(settings, self, BrokerClock(), name)
        self.intake.subscribe()

    def assigned(self, partitions: Mapping[tuple[str, int], object]) -> None:
        self.held |= set(partitions)

    def revoking(self, partitions: list[tuple[str, int]]) -> None:
        self.held -= set(partitions)

    def lost(self, partitions: list[tuple[str, int]]) -> None:
        self.held -= set(partitions)


def _shares(workers: list[_Worker], topics: list[str], each: int) -> list[list[int]]:
    """Poll until all partitions of ``topics`` are held, and nothing has changed for a second; how many each has, by topic."""
    deadline, since, last = time.monotonic() + 60, time.monotonic(), None
    while True:
        for worker in workers:
            worker.intake.poll(0.01, 1)
        now = [Counter(topic for topic, _ in worker.held) for worker in workers]
        if now != last or any(sum(one[topic] for one in now) != each for topic in topics):
            last, since = now, time.monotonic()
        if time.monotonic() > since + 1.5:
            return [sorted(one[topic] for one in now) for topic in topics]
        assert time.monotonic() < deadline, f"the group does not come to rest: {now}"


@pytest.mark.timeout(240)
def test_every_jobs_topic_is_shared_evenly(settings: SettingsFactory, make_topics: MakeTopics) -> None:
    chosen = settings(topics={"job_partitions": 8}, worker={"queues": ["", "slow"]})
    make_topics(chosen)
    topics = [chosen.names.jobs(queue) for queue in chosen.worker.queues]
    workers: list[_Worker] = []
    try:
        for expected in ([8], [4, 4], [2, 3, 3], [2, 2, 2, 2]):
            workers.append(_Worker(chosen, f"w{len(workers)}"))
            assert _shares(workers, topics, 8) == [expected] * len(topics)
        workers.pop(0).intake.close()
        assert _shares(workers, topics, 8) == [[2, 3, 3]] * len(topics)
    finally:
        for worker in workers:
            worker.intake.close()
