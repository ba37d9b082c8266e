"""Owns reading the dead-letter topic: from a moment on, up to where it ended when it was opened, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.dead.letters import DeadLetter, Record, job_of, read_audit, read_record
from penstock.dead.marks import REDRIVEN, Marks
from penstock.topics import KafkaUnreachable, unreachable
from penstock_schemas.headers import UNREADABLE, Header

if TYPE_CHECKING:
    from penstock.dead.filters import Filter
    from penstock_schemas.settings import Settings

CALL_TIMEOUT: Final = 5.0
"""Longest that one call to the cluster may take, in seconds."""
STALL_TIMEOUT: Final = 30.0
"""The cluster counts as away when it hands over nothing for so long, in seconds."""
_POLL: Final = 0.2
"""How long one call waits, in seconds: signals are heard between calls."""
_RECORDS: Final = 500


class NoDeadTopic(Exception):
    """The fleet's dead-letter topic is not there."""


class DeadTopic:
    """The dead-letter topic of the fleet that ``settings`` describe; joins no group and commits nothing.

    ``between`` is called before each batch, and may raise to end the reading. Raises KafkaUnreachable and NoDeadTopic.
    """

    def __init__(
        self, settings: Settings, *, timeout: float = CALL_TIMEOUT, between: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._timeout = timeout
        self._between = between
        self._name = settings.names.dead
        # The record of a redrive that was broken off is none.
        self._consumer = Consumer(_properties(settings, "read_committed"))
        self._ends: dict[int, int] = {}
        self.jobs_topics: frozenset[str] = frozenset()
        """The fleet's jobs topics that are there."""
        self.withheld = 0
        """How many records cannot be read now, because they stand behind a redrive's open transaction."""

    def __enter__(self) -> Self:
        try:
            self._look()
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    def letters(self, chosen: Filter | None = None) -> Iterator[DeadLetter]:
        """The letters that the filter chooses, oldest first in each partition; those of one failure may come twice."""
        for record in self.records(None if chosen is None else chosen.since_ms):
            found = read_record(record)
            if isinstance(found, DeadLetter) and (chosen is None or chosen.matches(found)):
                yield found

    def mark_redriven(self, marks: Marks, since_ms: int | None = None) -> None:
        """Mark each job of which there is a record that it was redriven. Those follow their letters, hence ``since_ms``."""
        for record in self.records(since_ms):
            audit = read_audit(record)
            if audit is not None:
                marks.put(job_of(audit.identity), REDRIVEN)

    def records(self, since_ms: int | None = None) -> Iterator[Record]:
        """Every record that is there now and no older than ``since_ms``."""
        starts = self._starts(since_ms)
        ends = {number: end for number, end in self._ends.items() if starts[number] < end}
        self._consumer.assign([TopicPartition(self._name, number, starts[number]) for number in ends])
        heard = time.monotonic()
        while ends:
            self._between()
            messages = self._take()
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > max(STALL_TIMEOUT, self._timeout):
                raise KafkaUnreachable(f"Kafka hands over nothing of {self._name} any more: are all of its brokers up?")
            for message in messages:
                number, offset, error = message.partition(), message.offset(), message.error()
                if number is None or offset is None or number not in ends or (error is not None and not self._is_end(error)):
                    continue
                if error is None and offset < ends[number]:
                    yield _record(message, self._name, number, offset)
                if error is not None or offset >= ends[number] - 1:
                    del ends[number]
        self._consumer.unassign()

    def _look(self) -> None:
        """Which jobs topics there are, and where each partition ends now."""
        try:
            found = self._consumer.list_topics(timeout=self._timeout).topics
            topic = found.get(self._name)
            if topic is None or topic.error is not None:
                question = f"is {self._settings.fleet!r} the fleet's name (--fleet)?"
                raise NoDeadTopic(f"there is no topic {self._name}: {question} `penstock topics apply` makes a new fleet's")
            jobs = self._settings.names.jobs()
            self.jobs_topics = frozenset(name for name in found if name == jobs or name.startswith(f"{jobs}."))
            last = self._last(list(topic.partitions))  # before the ends: what is written meanwhile is not withheld
            for number in topic.partitions:
                _, self._ends[number] = self._watermarks(self._consumer, number)
                self.withheld += max(0, last[number] - self._ends[number])
        except KafkaException as error:
            raise unreachable(self._settings, error) from error

    def _last(self, numbers: Sequence[int]) -> dict[int, int]:
        """Where the partitions end for who reads what is not committed, too."""
        consumer = Consumer(_properties(self._settings, "read_uncommitted"))
        try:
            return {number: self._watermarks(consumer, number)[1] for number in numbers}
        finally:
            consumer.close()

    def _watermarks(self, consumer: Consumer, number: int) -> tuple[int, int]:
        found: Any = consumer.get_watermark_offsets(TopicPartition(self._name, number), timeout=self._timeout)
        if found is None:
            raise KafkaUnreachable(f"Kafka does not say where {self._name} begins and ends: are all of its brokers up?")
        low, high = found
        return int(low), int(high)

    def _starts(self, since_ms: int | None) -> dict[int, int]:
        try:
            if since_ms is None:
                return {number: self._watermarks(self._consumer, number)[0] for number in self._ends}
            asked = [TopicPartition(self._name, number, max(0, since_ms)) for number in self._ends]
            found = self._consumer.offsets_for_times(asked, timeout=self._timeout)
        except KafkaException as error:
            raise unreachable(self._settings, error) from error
        # OFFSET_END: there is nothing as young as that.
        return {one.partition: self._ends[one.partition] if one.offset == OFFSET_END else one.offset for one in found}

    def _take(self) -> list[Message]:
        first = self._consumer.poll(_POLL)
        return [] if first is None else [first, *self._consumer.consume(_RECORDS - 1, 0)]

    def _is_end(self, error: KafkaError) -> bool:
        """Whether a partition's end was met. Raises KafkaUnreachable for what will not pass."""
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own code
            return True
        if error.retriable():
            return False
        raise unreachable(self._settings, KafkaException(error))


def _properties(settings: Settings, isolation: str) -> dict[str, str | int | float | bool]:
    return {
        "fetch.queue.backoff.ms": 5,
        # Both: records of redrives have no body, so a limit in bytes alone would let very many of them wait.
        "queued.min.messages": 5_000,
        "queued.max.messages.kbytes": 4 * 1024,
        **settings.kafka.properties,
        "log_level": 0,
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        # librdkafka wants a name, also of who joins no group and commits nothing.
        "group.id": f"{settings.fleet}.dead-letters",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": isolation,
        "auto.offset.reset": "earliest",
    }


def _record(message: Message, topic: str, partition: int, offset: int) -> Record:
    key, value = message.key(), message.value()
    return Record(topic, partition, offset, message.timestamp()[1], _bytes(key), _bytes(value), _headers(message))


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _headers(message: Message) -> list[Header]:
    """The record's headers. Asked for once: where a name is no UTF-8, the second answer would end the process."""
    try:
        found: Any = message.headers()
    except (SystemError, UnicodeDecodeError):
        return [(UNREADABLE, b"1")]
    return list(found or ())
