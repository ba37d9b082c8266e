"""Owns the consumer of the outcomes topic: joining the group, placing partitions, fetching. Only one thread may call it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock_schemas.settings import Settings
from penstock_worker.damage import StepOver
from penstock_worker.health import Health
from penstock_worker.kafka import NOT_IN_LOG, PATIENCE, UNREADABLE, group_properties, leave
from penstock_worker.logs import kafka_logger
from penstock_worker.project.plan import Records
from penstock_worker.project.source import Bounds
from penstock_worker.project.topic import OutcomesTopic
from penstock_worker.standstill import Standstill

_ASK_SECONDS: Final = 0.5
_LEAVE_STEP: Final = 0.1
_UNPLACED: Final = 0
"""Partitions are assigned paused, at a plain offset, and placed later. A logical one (the end, say) would be looked up
meanwhile, and the answer would override the placement."""


class OutcomeConsumer:
    """A :class:`~penstock_worker.project.source.Source` on Kafka. Commits nothing: the position lives in Redis."""

    def __init__(self, settings: Settings) -> None:
        self._log = structlog.get_logger("penstock.projector")
        self._topic = settings.names.outcomes
        self._assigned: set[int] = set()
        self._troubled: set[int] = set()
        self._damage = StepOver()
        self.health = Health("penstock.projector")
        self.joined = False
        self._about = OutcomesTopic(settings)
        self._about.look()
        self._standstill = Standstill()
        callbacks = {"logger": kafka_logger(), "error_cb": self.health.on_error, "stats_cb": self._standstill.told}
        self._consumer = Consumer(consumer_properties(settings) | callbacks)
        self._consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    @property
    def topic_id(self) -> str | None:
        return self._about.id

    @property
    def assigned(self) -> AbstractSet[int]:
        return self._assigned

    def take(self, most: int, wait: float) -> list[Records]:
        self._about.look()
        # consume(n, t) would wait out its time whenever fewer than n records are there.
        first = self._consumer.poll(wait)
        self._troubled |= {number for _, number in self._standstill.take()} & self._assigned
        if first is None:
            self.health.look(self._consumer, self._topic)
            return []
        by_partition = defaultdict[int | None, list[Message]](list)
        # Messages come in long runs of one partition.
        for partition, run in groupby((first, *self._consumer.consume(most - 1, 0)), Message.partition):
            by_partition[partition].extend(run)
        return [records for messages in by_partition.values() if (records := self._columns(messages)) is not None]

    def troubled(self) -> AbstractSet[int]:
        troubled, self._troubled = self._troubled, set()
        return troubled

    def start(self, partition: int, offset: int) -> None:
        self._damage.forget(partition)
        self._jump(partition, offset)

    def _jump(self, partition: int, offset: int) -> None:
        # Not seek(): that fails for a partition that stopped at an offset which is not in the log.
        where = [TopicPartition(self._topic, partition, offset)]
        self._consumer.incremental_unassign(where)
        self._consumer.incremental_assign(where)
        self._consumer.resume(where)

    def pause(self) -> None:
        self._consumer.pause([TopicPartition(self._topic, partition) for partition in self._assigned])

    def bounds(self, partitions: Iterable[int], since_ms: int) -> Mapping[int, Bounds]:
        return self._about.bounds(partitions, since_ms)

    def lag(self, positions: Sequence[tuple[int, int]], *, ask: bool = False) -> int:
        behind = 0
        for partition, offset in positions:
            place = TopicPartition(self._topic, partition)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            if ask:
                try:
                    _, high = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
                except KafkaException:
                    ask = False  # nor can it be asked of the others
            behind += max(0, high - offset)
        return behind

    def close(self) -> None:
        leave(self._consumer, self._topic, lambda: self._consumer.poll(_LEAVE_STEP), time.monotonic() + PATIENCE)

    def _columns(self, messages: list[Message]) -> Records | None:
        if self._damage or [error for error in map(Message.error, messages) if error is not None]:
            messages = self._sound(messages)
            if not messages:
                return None
        return Records(
            partition=messages[0].partition() or 0,
            keys=list(map(Message.key, messages)),
            values=list(map(Message.value, messages)),
            timestamps=[time for _, time in map(Message.timestamp, messages)],
            offsets=_offsets(messages),
        )

    def _sound(self, messages: list[Message]) -> list[Message]:
        """What of ``messages``, all of one partition, is a record; what cannot be read is stepped over."""
        partition, sound = messages[0].partition() or 0, list[Message]()
        for message in messages:
            error, offset = message.error(), message.offset() or 0
            target = self._damage.read(partition, offset) if error is None else self._heed(message, error)
            if target is not None:
                self._jump(partition, target)
                break  # what follows is read again from there
            if error is None:
                self._say_lost(partition, self._damage.passed(partition, offset))
                sound.append(message)
        return sound

    def _heed(self, message: Message, error: KafkaError) -> int | None:
        """Deal with an error that came in a message's place. Returns where to read instead; None: there again."""
        partition, offset = message.partition(), message.offset() or 0
        if error.fatal():
            raise KafkaException(error)
        self.health.tell(message)
        if partition in self._assigned and error.code() in NOT_IN_LOG:
            sent = self._damage.sent(partition)
            if sent is not None and sent != offset:
                return sent  # from before it was sent there, or the damage has led it astray
            self._troubled.add(partition)
        elif partition in self._assigned and error.code() in UNREADABLE:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            return self._damage.failed(partition, offset, end)
        return None

    def _say_lost(self, partition: int, lost: tuple[int, int] | None) -> None:
        if lost is not None:
            first, last = lost
            event = "outcomes cannot be read, and are passed over: they are damaged in the log"
            self._log.error(event, topic=self._topic, partition=partition, first=first, last=last)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.joined = True
        for partition in partitions:
            partition.offset = _UNPLACED
        consumer.incremental_assign(partitions)
        if partitions:
            consumer.pause(partitions)
            numbers = {partition.partition for partition in partitions}
            self._assigned |= numbers
            self._troubled |= numbers
            self._log.info("partitions assigned", topic=self._topic, partitions=sorted(numbers))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {partition.partition for partition in partitions}
        self._assigned -= numbers
        self._troubled -= numbers
        consumer.incremental_unassign(partitions)
        self._log.info("partitions revoked", topic=self._topic, partitions=sorted(numbers))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The group went on without us. A change under way is checked against the position: there is nothing to wait for."""
        self.joined = False
        self._on_revoke(consumer, partitions)


def _offsets(messages: list[Message]) -> Sequence[int]:
    first, last = messages[0].offset() or 0, messages[-1].offset() or 0
    if last - first + 1 == len(messages):  # they rise, so there is none between that is not here
        return range(first, last + 1)
    return [message.offset() or 0 for message in messages]


def consumer_properties(settings: Settings) -> dict[str, Any]:
    """librdkafka's properties for the projectors' group: nothing is committed, and no offset is made up."""
    largest = settings.topics.max_outcome_bytes
    tuning = {
        "client.id": "penstock-projector",
        "queued.max.messages.kbytes": 4 * 1024,  # a few batches; the default of 64 MiB would be most of the process
        "fetch.message.max.bytes": 512 * 1024,  # a larger record is still fetched, alone
        "fetch.max.bytes": max(8 * 1024 * 1024, largest),
        "receive.message.max.bytes": max(100_000_000, largest + 1024 * 1024),
    }
    # An offset that is not in the log is for us to judge: the client's own answer, the earliest, may mean days of expired
    # results.
    properties = group_properties(settings, settings.names.projector_group, tuning=tuning)
    return properties | {"allow.auto.create.topics": False}
