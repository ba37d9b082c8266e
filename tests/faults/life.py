"""Owns one fleet's life from its first job to its last: jobs in, faults on time, quiet, and the evidence of it all."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from redis.exceptions import RedisError
from tests.faults.evidence import ResultReader, TopicReader, committed
from tests.faults.records import Accepted, Evidence

if TYPE_CHECKING:
    from tests.faults.harness import Fleet
    from tests.faults.jobs import Job
    from tests.faults.schedule import Step

_TURN: Final = 0.01
_WATCHED: Final = 100
"""Results that are looked at in one turn, while the fleet lives."""
_MEAN_BURST: Final = 300
_LAG_LOOK: Final = 0.2


class Life:
    """A fleet's life, seen from outside. A context manager.

    ``accepted`` are the jobs that the broker has confirmed, ``refused`` those that it has not.
    """

    def __init__(self, fleet: Fleet, seed: int) -> None:
        settings = fleet.settings
        bootstrap = settings.kafka.bootstrap_servers
        self._fleet = fleet
        self._settings = settings
        self._random = Random(seed)
        self._jobs_topic = settings.names.jobs()
        self.accepted: list[Accepted] = []
        self.refused: list[str] = []
        self._sightings = defaultdict[str, set[bytes]](set)
        quiet: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._producer = Producer(quiet | {"enable.idempotence": True, "partitioner": "murmur2_random"})
        self._admin = AdminClient(quiet)
        self._topics = TopicReader(bootstrap)
        self._results = ResultReader(settings)
        fleet.on_flush(self._results.flush)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._topics.close()
        self._results.close()

    def wait_ready(self, names: Iterable[str], timeout: float = 60.0) -> None:
        """Wait until all of ``names`` serve. Raises AssertionError."""
        waited = list(names)
        deadline = time.monotonic() + timeout
        while late := [name for name in waited if not self._fleet.members[name].ready]:
            troubles = self._fleet.troubles()
            assert not troubles, "\n".join(troubles)
            assert time.monotonic() < deadline, f"not ready after {timeout:g} s: {', '.join(late)}"
            time.sleep(_TURN)

    def live(self, jobs: Iterator[Job], count: int, steps: Sequence[Step], seconds: float) -> None:
        """Submit ``jobs``, about ``count``, in bursts over ``seconds``, and do ``steps`` when their time comes."""
        begin = time.monotonic()
        waiting = deque(steps)
        bursts = deque(self._bursts(count, seconds))
        while waiting or bursts:
            now = time.monotonic() - begin
            while waiting and waiting[0].at <= now:
                self._fleet.do(waiting.popleft())
            while bursts and bursts[0][0] <= now:
                self.submit(islice(jobs, bursts.popleft()[1]))
            self._producer.poll(_TURN)
            self._watch()
        self.submit(jobs)
        left = self._producer.flush(30.0)
        assert not left, f"{left} jobs were neither confirmed nor refused"

    def submit(self, jobs: Iterable[Job]) -> None:
        """Publish ``jobs``; the broker's answers come while the producer is polled."""
        for job in jobs:
            heard = partial(self._heard, job)
            while True:
                try:
                    self._producer.produce(self._jobs_topic, job.value, job.key, on_delivery=heard, headers=list(job.headers))
                    break
                except BufferError:
                    self._producer.poll(0.1)

    def wait_quiet(self, timeout: float) -> bool:
        """Wait until every job is committed and every outcome projected.

        False where that takes longer than ``timeout`` seconds, or a member is in trouble: the evidence says what is missing.
        """
        deadline = time.monotonic() + timeout
        while not self._is_quiet():
            if time.monotonic() > deadline or self._fleet.troubles():
                return False
            waited = time.monotonic() + _LAG_LOOK
            while time.monotonic() < waited:
                self._watch()
                time.sleep(_TURN)
        return True

    def evidence(self) -> Evidence:
        """What is left of it now."""
        names = self._settings.names
        outcome_ends = self._topics.ends(names.outcomes)
        return Evidence(
            jobs_topic=self._jobs_topic,
            result_ttl_ms=int(self._settings.result_ttl * 1000),
            accepted=self.accepted,
            outcomes=self._topics.records(names.outcomes),
            letters=self._topics.records(names.dead),
            commits=self._topics.commits(names.workers_group, self._jobs_topic),
            results=self._results.everything(),
            job_ends=self._topics.ends(self._jobs_topic),
            outcome_ends=outcome_ends,
            positions=self._results.positions(list(outcome_ends)),
            sightings=self._sightings,
        )

    def _bursts(self, count: int, seconds: float) -> Iterator[tuple[float, int]]:
        """When to submit how many: between one and thousands at once, so that workers are idle, busy and full in turns."""
        at = 0.0
        while at < seconds:
            burst = 1 + int(self._random.expovariate(1 / _MEAN_BURST))
            yield at, burst
            at += burst * seconds / count

    def _is_quiet(self) -> bool:
        names = self._settings.names
        try:
            done = committed(self._admin, names.workers_group, self._jobs_topic)
            ends = self._topics.ends(names.outcomes)
            positions = self._results.positions(list(ends))
        except (KafkaException, RedisError):
            return False
        read = all(done.get(partition, 0) == end for partition, end in self._topics.ends(self._jobs_topic).items())
        return read and all(positions.get(partition, 0) == end for partition, end in ends.items())

    def _watch(self) -> None:
        """Look at some results, as any reader may at any time."""
        if not self.accepted:
            return
        ids = [job.id for job in self._random.choices(self.accepted, k=_WATCHED)]
        try:
            found = self._results.some(ids)
        except RedisError:
            return  # away just now
        for job_id, value in found.items():
            self._sightings[job_id].add(value)

    def _heard(self, job: Job, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.refused.append(f"{job.id}: {error.str()}")
            return
        self.accepted.append(Accepted(job, message.partition() or 0, message.offset() or 0, message.timestamp()[1]))
