"""Owns the consumer of the jobs topics: joining the group, fetching, pausing, committing. One thread alone calls it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock_worker.kafka import group_properties
from penstock_worker.logs import kafka_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from penstock_schemas.settings import Settings
    from penstock_worker.intake import ledger

_ASK_SECONDS: Final = 10.0
"""How long a question to the broker may take while partitions are being assigned."""

_LOOK_EVERY: Final = 3.0

Gap = tuple["ledger.TopicPartition", int, int]


class Owner(Protocol):
    """Who is told of partitions that come and go. Called from within :meth:`Intake.poll`."""

    def assigned(self, partitions: Mapping[ledger.TopicPartition, int | None], gaps: list[Gap]) -> None:
        """These are ours from now on, with their first offset where it is known.

        ``gaps`` are ranges that retention deleted before anyone read them.
        """
        ...

    def revoking(self, partitions: list[ledger.TopicPartition]) -> None:
        """These are still ours, and will not be on return: the last moment to settle and commit."""
        ...

    def lost(self, partitions: list[ledger.TopicPartition]) -> None:
        """These are another's already: nothing of them may be committed."""
        ...


class Intake:
    """A group consumer that hands out messages and commits what it is told, never by itself."""

    def __init__(self, settings: Settings, owner: Owner) -> None:
        self._owner = owner
        self._log = structlog.get_logger("penstock.intake")
        self._topics = [settings.names.jobs(queue) for queue in settings.worker.queues]
        self._paused = False
        self._told: dict[Any, str] = {}
        self._gone: set[Any] = set()
        self._complained: str | None = None
        self._look_due = 0.0
        self.fatal: str | None = None
        """Why this consumer can read nothing more."""
        self._commits_fail = False
        self.commit_failed = False
        """Whether a commit has failed since the owner last looked; it should then commit everything again."""
        self.joined = False
        """Whether the group has answered at least once, with partitions or without."""
        self.down = False
        """Whether no broker can be reached, as far as the client knows."""
        self._consumer = Consumer(
            consumer_properties(settings, settings.names.workers_group)
            | {
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
                "logger": kafka_logger(),
            }
        )

    @property
    def topics(self) -> list[str]:
        return self._topics

    def subscribe(self) -> None:
        self._consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def poll(self, timeout: float, most: int) -> list[Message]:
        """Up to ``most`` messages, waiting up to ``timeout`` seconds for the first and for no other.

        ``consume(n, timeout)`` alone would wait out its timeout whenever fewer than ``n`` are there.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            if self.down:
                self._look()
            return []
        self._gone.clear()
        rest = self._consumer.consume(most - 1, 0) if most > 1 else []
        # A rebalance may have come in between: then the next owner, or our own new epoch, begins before the first message.
        messages = rest if (first.topic(), first.partition()) in self._gone else [first, *rest]
        errors = [m for m in messages if m.error() is not None]
        for message in errors:
            self._tell(message)
        return [m for m in messages if m.error() is None] if errors else messages

    def pause(self) -> None:
        """Fetch nothing more until :meth:`resume`; polling goes on, so the group keeps us."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._consumer.resume(self._consumer.assignment())

    def commit(self, positions: Mapping[ledger.TopicPartition, int], *, wait: bool = False) -> None:
        """Commit next offsets. ``wait``: until the broker answered. A failure is logged: the next owner repeats the jobs."""
        if not positions:
            return
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        try:
            if wait:
                answers = self._consumer.commit(offsets=offsets, asynchronous=False)
                refused = [answer.error for answer in answers if answer.error is not None]
                if refused:
                    self._commit_refused(refused[0].str())
                else:
                    self._commits_fail = False
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._commit_refused(str(error))

    def lag(self, positions: Mapping[ledger.TopicPartition, int]) -> int:
        """Records behind ``positions`` in the log, as far as fetching has told."""
        behind = 0
        for partition, position in positions.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
            behind += max(0, high - position)
        return behind

    def low_watermark(self, partition: ledger.TopicPartition) -> int | None:
        """The first offset that the log still holds, as far as fetching has told; None where it has not."""
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return low if low >= 0 else None

    def close(self) -> None:
        """Leave the group. Partitions are revoked on the way.

        The client would leave some groups without a word, and they would hold our place, and perhaps wait for us as their
        leader, until our session ends. While others still join, a request to leave stands behind our own join and goes down
        with the connection: so a question that stands in the same line is asked first. And a consumer without partitions
        sends no such request when it is closed (librdkafka 2.16, cooperative): so it is unsubscribed first.
        """
        with contextlib.suppress(KafkaException):
            self._consumer.committed([TopicPartition(self._topics[0], 0)], timeout=_ASK_SECONDS)
        with contextlib.suppress(KafkaException):
            self._consumer.unsubscribe()
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.joined = True
        gaps = self._place(consumer, partitions)
        consumer.incremental_assign(partitions)
        # New ones arrive unpaused; one that was taken from us while it was paused, and comes back, comes back paused.
        (consumer.pause if self._paused else consumer.resume)(partitions)
        if partitions:
            self._log.info("partitions assigned", partitions=_names(partitions))
            starts = {(p.topic, p.partition): p.offset if p.offset >= 0 else None for p in partitions}
            self._owner.assigned(starts, gaps)

    def _place(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[Gap]:
        """Set each partition's start to its committed offset, or the log's start where retention has passed that."""
        gaps: list[Gap] = []
        try:
            committed = consumer.committed(partitions, timeout=_ASK_SECONDS) if partitions else []
            for partition, known in zip(partitions, committed, strict=True):
                if known.offset < 0:
                    continue
                partition.offset = known.offset
                low, _ = consumer.get_watermark_offsets(partition, timeout=_ASK_SECONDS)
                if known.offset < low:
                    partition.offset = low
                    gaps.append(((partition.topic, partition.partition), known.offset, low - 1))
        except KafkaException as error:
            # The client itself then starts at the committed offsets; where one is known, a gap is seen at the first record.
            self._log.warning("could not look for gaps", error=str(error))
        return gaps

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._log.info("partitions revoked", partitions=_names(partitions))
        self._gone |= {(p.topic, p.partition) for p in partitions}
        self._owner.revoking([(p.topic, p.partition) for p in partitions])
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._log.warning("partitions lost: the group went on without us", partitions=_names(partitions))
        self._gone |= {(p.topic, p.partition) for p in partitions}
        self._owner.lost([(p.topic, p.partition) for p in partitions])
        consumer.incremental_unassign(partitions)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            if not self.down:
                self.down = True
                self._log.warning("no broker can be reached; waiting", error=error.str())
        elif error.fatal():
            self.fatal = error.str()
        elif self._complained != error.name() and error.code() != KafkaError._TRANSPORT:  # noqa: SLF001  # its public name
            self._complained = error.name()
            self._log.warning("Kafka client error", error=error.str())

    def _look(self) -> None:
        """While no broker is known to be up, ask now and then: an idle worker hears of it in no other way."""
        now = time.monotonic()
        if now < self._look_due:
            return
        self._look_due = now + _LOOK_EVERY
        try:
            self._consumer.list_topics(self._topics[0], timeout=0.2)
        except KafkaException:
            return
        self.down = False
        self._complained = None
        self._log.info("Kafka can be reached again")

    def _on_commit(self, error: KafkaError | None, _partitions: list[TopicPartition]) -> None:
        if error is None:
            self._commits_fail = False
        elif error.code() != KafkaError._NO_OFFSET:
            self._commit_refused(error.str())

    def _commit_refused(self, reason: str) -> None:
        """Note a failed commit, for the owner to commit again; and say so once, until one succeeds."""
        self.commit_failed = True
        if not self._commits_fail:
            self._commits_fail = True
            self._log.warning("commits fail; until one succeeds, a new owner would repeat these jobs", error=reason)

    def _tell(self, message: Message) -> None:
        """Log an error that came in a message's place: once, until another one comes from there."""
        error = message.error()
        where = (message.topic(), message.partition())
        if error is not None and self._told.get(where) != error.name():
            self._told[where] = error.name()
            self._log.warning("fetch error", error=error.str(), topic=where[0], partition=where[1], offset=message.offset())


def consumer_properties(settings: Settings, group: str) -> dict[str, Any]:
    """librdkafka's properties for a consumer of jobs, which reads from the earliest record."""
    largest = settings.topics.max_job_bytes
    tuning = {
        "max.poll.interval.ms": 600_000,
        "fetch.message.max.bytes": max(largest, 1024 * 1024),
        # Else the client hangs up, again and again, on an answer that holds one job of more than its 100 MB.
        "receive.message.max.bytes": max(100_000_000, largest + 1024 * 1024),
        "queued.max.messages.kbytes": max(settings.worker.prefetch_bytes, largest) // 1024,
        # Each message that waits takes some 600 bytes besides its own: so many deliveries keep an engine fed.
        "queued.min.messages": 2 * settings.worker.window * settings.worker.delivery_records,
    }
    return group_properties(settings, group, reset="earliest", tuning=tuning)


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return [f"{p.topic}-{p.partition}" for p in partitions]
