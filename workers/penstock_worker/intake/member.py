"""Owns one member of the workers' group: a Kafka consumer that fetches, pauses and commits. One thread calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from penstock_worker.intake.commits import Commits
from penstock_worker.intake.course import Course
from penstock_worker.intake.placing import Start, place
from penstock_worker.kafka import leave
from penstock_worker.logs import kafka_logger
from penstock_worker.standstill import Standstill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock_worker.health import Health
    from penstock_worker.intake.gate import Hold
    from penstock_worker.intake.ledger import Mark
    from penstock_worker.intake.ledger import TopicPartition as Place

_STEP: Final = 0.1

Ids = Callable[[], "Mapping[str, str]"]
"""Gives the ids of the topics that there are, by name; none where they cannot be known."""


class Owner(Protocol):
    """Who is told of partitions that come and go. Called from within a poll."""

    def assigned(self, partitions: Mapping[Place, Start]) -> None:
        """These are ours from now on."""
        ...

    def revoking(self, partitions: list[Place]) -> None:
        """These are still ours, and will not be on return: the last moment to settle and commit."""
        ...

    def lost(self, partitions: list[Place]) -> None:
        """These are another's already: nothing of them may be committed."""
        ...


class Member:
    """A group consumer that hands out messages and commits what it is told, never by itself."""

    def __init__(self, properties: Mapping[str, Any], owner: Owner, health: Health, ids: Ids) -> None:
        self._owner = owner
        self._health = health
        self._log = structlog.get_logger("penstock.intake")
        self._commits = Commits(health)
        self._held: set[Place] = set()
        self._paused = False
        self._gone: set[Place] = set()
        self._topics: Sequence[str] = ()
        self._ids = ids
        self._read: dict[Place, str] = {}
        """The id of the topic of which each partition is read, where it was known when that came."""
        self._there: list[str | None] | None = None
        """The ids of our topics when they were last looked at."""
        self._rejoining = False
        """Whether the group is being left, to join it anew."""
        self.leaving = False
        """Whether what still comes is not to be begun with."""
        self.quiet = False
        """Whether the last poll gave nothing: what was read is all taken in."""
        self.joined = False
        """Whether the group counts us in: it has given us partitions, or none, and has not gone on without us."""
        standstill = Standstill()
        callbacks = {"error_cb": health.on_error, "on_commit": self._commits.on_commit, "stats_cb": standstill.told}
        self.consumer = Consumer(dict(properties) | callbacks | {"logger": kafka_logger()})
        self._course = Course(self.consumer, health, standstill)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group, for ``topics``."""
        self._topics = topics
        self.consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def heed_topics(self) -> None:
        """Join anew where a topic is another one than before: made, deleted, or made again under the same name."""
        ids = self._ids()
        there = [ids.get(topic) for topic in self._topics]
        changed, self._there = self._there is not None and there != self._there, there
        if self._rejoining:
            # Not before all has been taken back: the client would forget, in a rebalance, that it was to leave.
            if not self.consumer.assignment():
                self._rejoining = False
                self.subscribe(self._topics)
        elif changed:
            self._log.warning("a topic was made or deleted; joining the group anew", topics=list(self._topics))
            # What is read and committed of it means nothing to the new one: so no last commit, as for lost partitions.
            self._let_go(self.consumer.assignment(), self._owner.lost)
            self._rejoining = True
            self.consumer.unsubscribe()

    def poll(self, timeout: float, most: int) -> list[Message]:
        """Up to ``most`` messages, waiting up to ``timeout`` seconds for the first and for no other.

        ``consume(n, timeout)`` alone would wait out its timeout whenever fewer than ``n`` are there.
        """
        self._course.restart()
        before = set(self._course.stopped)
        first = self.consumer.poll(timeout)
        self.quiet = first is None
        if first is None:
            self._course.make_jumps(self._is_stopped, polled_all=True)
            return []
        self._gone.clear()
        rest = self.consumer.consume(most - 1, 0) if most > 1 else []
        self._course.make_jumps(self._is_stopped, polled_all=len(rest) < most - 1)
        # A rebalance may have come in between: then the next owner, or our own new epoch, begins before the first message.
        messages = rest if (first.topic(), first.partition()) in self._gone else [first, *rest]
        if self._rejoining:
            return []  # of partitions that are about to be taken back
        if before:
            messages = [m for m in messages if (m.topic(), m.partition()) not in before]
        return self._course.sift(messages)

    def pause(self) -> None:
        """Fetch nothing more until :meth:`resume`; polling goes on, so the group keeps us."""
        if not self._paused:
            self._paused = True
            self.consumer.pause(self.consumer.assignment())

    def resume(self) -> None:
        """Fetch again, but what is held."""
        if self._paused:
            self._paused = False
            stopped = self._held | self._course.stopped
            free = [p for p in self.consumer.assignment() if (p.topic, p.partition) not in stopped]
            self.consumer.resume(free)

    def hold(self, hold: Hold) -> None:
        """Fetch nothing of one partition until it is released, and then from ``hold.offset`` on."""
        self._held.add(hold.partition)
        self._course.jump(hold.partition, hold.offset)

    def release(self, partitions: Iterable[Place]) -> None:
        """Fetch partitions again that were held."""
        freed = [partition for partition in partitions if partition in self._held]
        self._held.difference_update(freed)
        stopped = [TopicPartition(*partition) for partition in freed if partition not in self._course.stopped]
        if stopped and not self._paused:
            with contextlib.suppress(KafkaException):  # one that has gone meanwhile
                self.consumer.resume(stopped)

    def commit(self, marks: Mapping[Place, Mark], *, last: bool = False) -> None:
        """Commit next offsets, and what whoever takes over should know. A failure is logged, and the jobs are repeated.

        ``last``: before another owner has the partitions.
        """
        self._commits.commit(self.consumer, marks, self._read, last=last)

    def answer(self, partition: Place) -> bool | None:
        """Whether Kafka has taken the last commit of ``partition``, as far as polling has told; None: no answer yet."""
        return self._commits.answer(partition)

    def lag(self, partition: Place, position: int) -> int:
        """Records behind ``position`` in the log, as far as fetching has told."""
        _, high = self.consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return max(0, high - position)

    def reached(self, partitions: Iterable[Place]) -> dict[Place, int]:
        """How far ``partitions`` have been read, marks of transactions included, where that is known, and all handed out."""
        return self._course.reached(partitions) if self.quiet else {}

    def missing(self, partition: Place, first: int, last: int) -> str | None:
        """Why offsets ``first`` to ``last`` were not read, where they may have held records; None where they held none."""
        if self._course.lost(partition, first, last):
            return "they are damaged in the log"
        low, _ = self.consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return "retention deleted them before a worker came to them" if low > first else None

    def close(self, meanwhile: Callable[[], None], until: float) -> None:
        """Leave the group. Partitions are revoked on the way.

        ``meanwhile`` is called as long as it has to wait; for its turn it waits ``until`` then (monotonic seconds).
        """

        def poll() -> None:
            meanwhile()
            self.poll(_STEP, 1)

        leave(self.consumer, self._topics[0], poll, until)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.joined = True
        if self.leaving:
            for one in partitions:
                one.offset = 0  # while the client looks for where to begin, it cannot be closed: it hangs, or aborts
            consumer.incremental_assign(partitions)
            consumer.pause(partitions)
            return
        ids = self._ids()
        starts = place(consumer, partitions, self._commits.own, ids)
        for partition, begin in zip(starts, partitions, strict=True):
            self._held.discard(partition)
            self._course.begin(partition, begin.offset)
            self._read[partition] = ids.get(partition[0], "")
        consumer.incremental_assign(partitions)
        # New ones arrive unpaused; one that was taken from us while it was paused, and comes back, comes back paused.
        (consumer.pause if self._paused else consumer.resume)(partitions)
        if partitions:
            self._log.info("partitions assigned", partitions=_names(partitions))
            self._owner.assigned(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._log.info("partitions revoked", partitions=_names(partitions))
        self._let_go(partitions, self._owner.revoking)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._log.warning("partitions lost: the group went on without us", partitions=_names(partitions))
        self.joined = False
        self._let_go(partitions, self._owner.lost)
        consumer.incremental_unassign(partitions)

    def _let_go(self, partitions: list[TopicPartition], tell: Callable[[list[Place]], None]) -> None:
        """These go, which the owner is told; what of them was polled already is not to be taken any more."""
        going = [(p.topic, p.partition) for p in partitions]
        self._gone.update(going)
        for partition in going:
            self._held.discard(partition)
            self._course.forget(partition)
        tell(going)
        self._commits.forget(going)

    def _is_stopped(self, partition: Place) -> bool:
        return self._paused or partition in self._held


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return [f"{p.topic}-{p.partition}" for p in partitions]
