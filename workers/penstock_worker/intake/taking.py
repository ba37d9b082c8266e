"""Owns taking in what a poll gave: each record is entered in the ledger, and joins a delivery or stands apart as dangerous."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from penstock_worker.intake.cut import cut
from penstock_worker.intake.delivery import Delivery, from_messages, runs
from penstock_worker.intake.retried import from_retries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message

    from penstock_worker.caution import Caution
    from penstock_worker.intake.consumer import Fetched
    from penstock_worker.intake.ledger import Entry, Ledger, TopicPartition

Missing = Callable[["TopicPartition", int, int], None]
"""Is told of offsets that were passed over: partition, first, last."""


class Limits(NamedTuple):
    """Of deliveries: which topics hold new jobs, and how many bytes travel together at most."""

    topics: Sequence[str]
    most_bytes: int
    last_wait: float
    """Seconds after which a job that waits for its model is run, however that does."""


class Taking:
    """Makes deliveries of messages. Dangerous ones are left to ``caution``."""

    def __init__(self, limits: Limits, ledger: Ledger, caution: Caution, missing: Missing) -> None:
        self._limits = limits
        self._ledger = ledger
        self._caution = caution
        self._missing = missing

    def take(self, fetched: Fetched) -> list[Delivery]:
        """The deliveries for the engines, their entries in the ledger."""
        deliveries: list[Delivery] = []
        jobs = fetched.jobs if self._caution.idle else self._apart(fetched.jobs)
        if jobs:
            for delivery in cut(jobs, self._limits.topics, self._limits.most_bytes):
                self._enter(delivery)
                deliveries.append(delivery)
        if fetched.retries:
            due = self._apart(fetched.retries) if self._caution.busy or not self._caution.idle else fetched.retries
            retried = from_retries(due, self._open, self._limits.most_bytes, self._limits.last_wait)
            self._caution.add(retried.dangerous)
            deliveries += retried.deliveries
        return deliveries

    def _enter(self, delivery: Delivery) -> None:
        """Enter a delivery of new jobs, run by run."""
        stretches = runs(delivery.partitions)
        for begin, end in stretches:
            partition = (delivery.topic, int(delivery.partitions[begin]))
            first = int(delivery.offsets[begin])
            self._look_behind(partition, first)
            delivery.entries.append(self._ledger.open(partition, first, int(delivery.offsets[end - 1]), end - begin))
        if len(stretches) > 1:
            lengths = [end - begin for begin, end in stretches]
            delivery.which = np.repeat(np.arange(len(stretches), dtype=np.int32), lengths)

    def _open(self, partition: TopicPartition, offset: int, records: int) -> Entry:
        self._look_behind(partition, offset)
        return self._ledger.open(partition, offset, offset, records)

    def _look_behind(self, partition: TopicPartition, offset: int) -> None:
        skipped = self._ledger.skipped(partition, offset)
        if skipped is not None:
            self._missing(partition, *skipped)

    def _apart(self, messages: Sequence[Message]) -> list[Message]:
        """What of ``messages`` is not dangerous. What is waits with ``caution``, or, past its bound, in Kafka."""
        harmless: list[Message] = []
        held: set[TopicPartition] = set()
        chunks: dict[TopicPartition, list[Message]] = {}
        chunk_bytes: Counter[TopicPartition] = Counter()
        for message in messages:
            topic, offset = message.topic() or "", message.offset() or 0
            partition = (topic, message.partition() or 0)
            if partition in held:
                continue
            if self._caution.overflows(partition):
                held.add(partition)
                self._caution.hold(partition, offset)
            elif not self._caution.watches(partition, offset):
                harmless.append(message)
            elif topic in self._limits.topics:
                chunk = chunks.setdefault(partition, [])
                chunk.append(message)
                chunk_bytes[partition] += len(message)
                full = chunk_bytes[partition] >= self._limits.most_bytes
                if full or len(chunk) >= self._caution.chunk(partition, chunk[0].offset() or 0):
                    self._set_apart(topic, chunks.pop(partition))
                    chunk_bytes[partition] = 0
            else:
                retried = from_retries([message], self._open, self._limits.most_bytes, self._limits.last_wait)
                self._caution.add([*retried.dangerous, *retried.deliveries])
        for (topic, _), chunk in chunks.items():
            self._set_apart(topic, chunk)
        return harmless

    def _set_apart(self, topic: str, chunk: list[Message]) -> None:
        delivery = from_messages(topic, chunk)
        self._enter(delivery)
        self._caution.add([delivery])
