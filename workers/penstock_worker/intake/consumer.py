"""Owns what a worker reads: its members of the workers' group, and which of what they fetch is due. One thread calls it.

One member a jobs topic, and one for the retry topics together. The group shares out partitions by their number, whatever
their topic (cooperative-sticky): a second worker with one member for all topics would get all jobs, or none.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from penstock_worker.health import Health
from penstock_worker.intake.gate import Gate, Hold
from penstock_worker.intake.member import Member
from penstock_worker.intake.placing import retry_topics
from penstock_worker.intake.properties import jobs_properties, retries_properties
from penstock_worker.kafka import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from confluent_kafka import Message

    from penstock_schemas.settings import Settings
    from penstock_worker.intake.clock import BrokerClock
    from penstock_worker.intake.ledger import Mark, TopicPartition
    from penstock_worker.intake.member import Ids, Owner
    from penstock_worker.intake.placing import Start


class Fetched(NamedTuple):
    """What a poll gave: records of jobs topics, and records of retry topics that are due."""

    jobs: list[Message]
    retries: list[Message]


class Intake:
    """The members of one worker, as one source of messages, and one place to commit."""

    def __init__(self, settings: Settings, owner: Owner, clock: BrokerClock, worker: str, ids: Ids = dict) -> None:
        """``worker``: its name. ``ids`` tells which topics there are."""
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._gate = Gate({})
        self.health = Health("penstock.intake")
        self.topics = [settings.names.jobs(queue) for queue in settings.worker.queues]
        self._retries = Member(retries_properties(settings, worker), self, self.health, ids)
        self._jobs = {topic: Member(jobs_properties(settings, worker, topic), self, self.health, ids) for topic in self.topics}
        self._members = [*self._jobs.values(), self._retries]

    @property
    def joined(self) -> bool:
        """Whether the group counts every member in, with partitions or without."""
        return all(member.joined for member in self._members)

    @property
    def needs_time(self) -> bool:
        """Whether the broker should be asked for its time: retries are due, and jobs expire, by that."""
        return self.joined and self._clock.must_ask

    def subscribe(self) -> None:
        """Join the group, for the jobs topics and every retry topic that there is."""
        delays = retry_topics(self._retries.consumer, self._settings)
        self._gate = Gate(delays)
        for topic, member in self._jobs.items():
            member.subscribe([topic])
        self._retries.subscribe(list(delays))

    def heed_topics(self) -> None:
        """Begin again with topics that were made, deleted, or made again."""
        for member in self._members:
            member.heed_topics()

    def poll(self, timeout: float, most: int) -> Fetched:
        """Up to ``most`` messages of each topic, waiting up to ``timeout`` seconds for the first new job."""
        if self._gate.holding and self._clock.known:
            self.release(self._gate.ripe(self._clock.now_ms()))
        jobs: list[Message] = []
        for member in self._jobs.values():
            jobs += member.poll(0 if jobs else timeout / len(self._jobs), most)
        retries = self._retries.poll(0, most)
        if not jobs and not retries:
            self.health.look(self._retries.consumer, self.topics[0])
        if not retries:
            return Fetched(jobs, [])
        due, holds = self._gate.sift(retries, self._clock.now_ms() if self._clock.known else None)
        for hold in holds:
            self._retries.hold(hold)
        return Fetched(jobs, due)

    def pause(self) -> None:
        """Fetch nothing more until :meth:`resume`; polling goes on, so the group keeps us."""
        for member in self._members:
            member.pause()

    def resume(self) -> None:
        """Fetch again, but what is held."""
        for member in self._members:
            member.resume()

    def hold(self, hold: Hold) -> None:
        """Fetch nothing of one partition until it is released, and then from ``hold.offset`` on."""
        self._gate.forget(hold.partition)  # it would release it when something is due
        self._of(hold.partition).hold(hold)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch partitions again that were held."""
        for member, mine in self._by_member(partitions).items():
            member.release(mine)

    def commit(self, marks: Mapping[TopicPartition, Mark], *, last: bool = False) -> None:
        """Commit next offsets, and what whoever takes over should know. A failure is logged, and the jobs are repeated.

        ``last``: before another owner has the partitions. Nothing waits for the answer; polls bring it.
        """
        for member, mine in self._by_member(marks).items():
            member.commit({partition: marks[partition] for partition in mine}, last=last)

    def answer(self, partitions: Iterable[TopicPartition]) -> bool | None:
        """Whether Kafka has taken the last commits of all ``partitions``; None as long as polls have not told of each."""
        answers = {self._of(partition).answer(partition) for partition in partitions}
        return None if None in answers else False not in answers

    def lag(self, positions: Mapping[TopicPartition, int]) -> int:
        """Records behind ``positions`` in the log, as far as fetching has told."""
        return sum(self._of(partition).lag(partition, position) for partition, position in positions.items())

    def reached(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """How far ``partitions`` have been read, marks of transactions included, where all that was read is handed out."""
        found: dict[TopicPartition, int] = {}
        for member, mine in self._by_member(partitions).items():
            found |= member.reached(mine)
        return found

    def missing(self, partition: TopicPartition, first: int, last: int) -> str | None:
        """Why offsets ``first`` to ``last`` were not read, where they may have held records; None where they held none."""
        return self._of(partition).missing(partition, first, last)

    def close(self) -> None:
        """Leave the group. Partitions are revoked on the way.

        The group may be waiting for what only a poll of another member of ours brings about: so these are polled meanwhile.
        """
        left, until = list(self._members), time.monotonic() + PATIENCE
        for member in left:
            member.leaving = True
        while left:
            left[0].close(lambda: _serve(left), until)
            del left[0]

    # The members' owner.

    def assigned(self, partitions: Mapping[TopicPartition, Start]) -> None:
        for partition in partitions:
            self._gate.forget(partition)
        self._owner.assigned(partitions)

    def revoking(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._gate.forget(partition)
        self._owner.revoking(partitions)

    def lost(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._gate.forget(partition)
        self._owner.lost(partitions)

    def _of(self, partition: TopicPartition) -> Member:
        return self._jobs.get(partition[0], self._retries)

    def _by_member(self, partitions: Iterable[TopicPartition]) -> dict[Member, list[TopicPartition]]:
        found: dict[Member, list[TopicPartition]] = {}
        for partition in partitions:
            found.setdefault(self._of(partition), []).append(partition)
        return found


def _serve(members: Sequence[Member]) -> None:
    """Let ``members`` hear of the group; what they fetch is not taken in any more."""
    for member in members:
        member.poll(0, 1)
