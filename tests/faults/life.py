"""Owns one fleet's life from its first job to its last: jobs in, faults on time, quiet, and the evidence of it all."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from redis.exceptions import RedisError
from tests.faults.evidence import ResultReader, TopicReader, committed
from tests.faults.records import Accepted, Evidence, Record, RetryTopic
from tests.faults.recovery import Recoveries

from penstock_schemas.names import tier_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.harness import Fleet
    from tests.faults.jobs import Job
    from tests.faults.schedule import Step

PATIENCE: Final = 180.0 if os.environ.get("SOAK") == "1" else 60.0
"""How long what must come is waited for, in seconds: long enough that what has not come by then never will.

A soak may share its machine with others.
"""
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
        self._tiers = {settings.names.retry(tier): tier_seconds(tier) for tier in settings.retry.tiers}
        self.accepted: list[Accepted] = []
        self.refused: list[str] = []
        self.unreadable: list[tuple[int, int]] = []
        """Places of jobs that the test has destroyed."""
        self.kept: list[Record] = []
        """Outcomes that were in the topic before the test took it away."""
        self._sightings = defaultdict[str, set[bytes]](set)
        quiet: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._quiet = quiet
        self._producer = self._make_producer({})
        self._admin = AdminClient(quiet)
        self._topics = TopicReader(bootstrap)
        self._results = ResultReader(settings)
        self.recoveries = Recoveries(self._results, time.monotonic, fleet.starting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._topics.close()
        self._results.close()

    def begin(self, names: Iterable[str], *, dies_at: str | None = None, logs: Path | None = None) -> None:
        """Start those of ``names`` that are not there, and wait until all serve. Raises AssertionError.

        The rest as for :meth:`tests.faults.harness.Fleet.add`.
        """
        members = list(names)
        for name in members:
            if name not in self._fleet.members:
                self._fleet.add(name, dies_at=dies_at, logs=logs)
        self.wait_ready(members)

    def wait_ready(self, names: Iterable[str], timeout: float = PATIENCE) -> None:
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
                self.do(waiting.popleft())
            while bursts and bursts[0][0] <= now:
                self.submit(islice(jobs, bursts.popleft()[1]))
            self.turn()
        self.submit(jobs)
        self.flush()

    def live_while(self, more: Callable[[], bool], jobs: Iterator[Job], *, rate: float, besides: Callable[[], None]) -> None:
        """Submit ``jobs``, some ``rate`` a second, and do ``besides`` in every turn, while there is ``more`` to come.

        Raises AssertionError where a member is in trouble.
        """
        begin, submitted = time.monotonic(), 0
        while more():
            besides()
            due = int((time.monotonic() - begin) * rate) - submitted
            self.submit(islice(jobs, due))
            submitted += due
            self.turn()
            troubles = self._fleet.troubles()
            assert not troubles, "\n".join(troubles)
        self.flush()

    def flush(self) -> None:
        """Wait until the broker has confirmed or refused every job."""
        left = self._producer.flush(PATIENCE)
        assert not left, f"{left} jobs were neither confirmed nor refused"

    def speak(self, properties: Mapping[str, Any]) -> None:
        """Submit jobs through a producer with these further properties from now on."""
        self.flush()
        self._producer = self._make_producer(properties)

    def do(self, step: Step) -> None:
        """Do one step, and begin to watch what comes of the jobs that were accepted before it."""
        self._fleet.do(step)
        self.recoveries.begin(step, self.accepted)

    def turn(self) -> None:
        """Hear of what was submitted, and look at some results."""
        self._producer.poll(_TURN)
        self._watch()

    def until(self, holds: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Live on until ``holds()``. Raises AssertionError, naming ``what``, where that takes longer than ``timeout``."""
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError("\n".join([f"after {timeout:g} s still not: {what}", *self._fleet.troubles()]))
            self.turn()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Publish ``jobs``; the broker's answers come while the producer is polled."""
        for job in jobs:
            heard = partial(self._heard, job)
            while True:
                try:
                    self._produce(job, heard)
                    break
                except BufferError:
                    self._producer.poll(0.1)

    def wait_quiet(self, timeout: float) -> str | None:
        """Wait until every job is committed and every outcome projected.

        Returns what is still to come where that takes longer than ``timeout`` seconds, or a member is in trouble, else None.
        """
        deadline = time.monotonic() + timeout
        while (left := self.unrest()) is not None:
            if time.monotonic() > deadline or self._fleet.troubles():
                return left
            waited = time.monotonic() + _LAG_LOOK
            while time.monotonic() < waited:
                self._watch()
                time.sleep(_TURN)
        return None

    def rest(self, timeout: float = PATIENCE) -> None:
        """Wait until every job is committed and every outcome projected. Raises AssertionError that says what is not."""
        left = self.wait_quiet(timeout)
        assert left is None, f"not at rest within {timeout:g} s: {left}"

    def evidence(self) -> Evidence:
        """What is left of it now."""
        names = self._settings.names
        outcome_ends = self._topics.ends(names.outcomes)
        commits = self._topics.commits(names.workers_group, [self._jobs_topic, *self._tiers])
        return Evidence(
            jobs_topic=self._jobs_topic,
            result_ttl_ms=int(self._settings.result_ttl * 1000),
            accepted=self.accepted,
            outcomes=[*self.kept, *self.outcomes()],
            letters=self._topics.records(names.dead),
            commits=commits[self._jobs_topic],
            results=self._results.everything(),
            job_ends=self._topics.ends(self._jobs_topic),
            outcome_ends=outcome_ends,
            positions=self._results.positions(list(outcome_ends)),
            sightings=self._sightings,
            retries={
                topic: RetryTopic(delay, self._topics.records(topic), commits[topic], self._topics.ends(topic))
                for topic, delay in self._tiers.items()
            },
            deaths=self._fleet.deaths,
            unreadable=self.unreadable,
        )

    def outcomes(self) -> list[Record]:
        """What the outcomes topic holds now."""
        return self._topics.records(self._settings.names.outcomes)

    def job_records(self) -> list[Record]:
        """What the jobs topic holds now."""
        return self._topics.records(self._jobs_topic)

    def _bursts(self, count: int, seconds: float) -> Iterator[tuple[float, int]]:
        """When to submit how many: between one and thousands at once, so that workers are idle, busy and full in turns."""
        at = 0.0
        while at < seconds:
            burst = 1 + int(self._random.expovariate(1 / _MEAN_BURST))
            yield at, burst
            at += burst * seconds / count

    def unrest(self) -> str | None:
        """What is still to come; None where nothing is."""
        names = self._settings.names
        try:
            done = committed(self._admin, names.workers_group)
            for topic in (self._jobs_topic, *self._tiers):
                for partition, end in self._topics.ends(topic).items():
                    if done.get((topic, partition), 0) != end:
                        return f"{topic}-{partition} is committed up to {done.get((topic, partition))} and ends at {end}"
            ends = self._topics.ends(names.outcomes)
            positions = self._results.positions(list(ends))
        except (KafkaException, RedisError) as error:
            return str(error)
        for partition, end in ends.items():
            if positions.get(partition, 0) != end:
                return f"{names.outcomes}-{partition} is projected up to {positions.get(partition)} and ends at {end}"
        return None

    def _make_producer(self, properties: Mapping[str, Any]) -> Producer:
        return Producer({**self._quiet, "enable.idempotence": True, "partitioner": "murmur2_random", **properties})

    def _produce(self, job: Job, heard: partial[None]) -> None:
        # Its stubs know of no header without a value.
        producer: Any = self._producer
        producer.produce(self._jobs_topic, job.value, job.key, on_delivery=heard, headers=list(job.headers))

    def _watch(self) -> None:
        """Look at some results, as any reader may at any time."""
        self.recoveries.look()
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
