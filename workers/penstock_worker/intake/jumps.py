"""Owns reading a partition from elsewhere than where the client is: behind damage, or again from a job that is not due.

Not seek(), which fails for a partition that has just come, or has stopped: it is taken from the client and given back. The
client takes just that for our answer to a rebalance of which it has not told us yet, and goes on without us. So it is done
when all that it has to tell is polled; until then the partition is paused.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from confluent_kafka import Consumer, Message

    from penstock_worker.intake.ledger import TopicPartition as Place

_PATIENCE: Final = 1.0
"""Under a backlog there is always something more to poll: so long, in seconds, is waited for the end of it."""


class Jumps:
    """One member's jumps, from when they are asked for until something was read where they lead."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._ahead: dict[Place, int] = {}
        self._due = 0.0
        self._blank: dict[Place, int] = {}

    @property
    def ahead(self) -> AbstractSet[Place]:
        """Partitions that are paused for theirs. What is still polled of these is from where they were."""
        return self._ahead.keys()

    def ask(self, partition: Place, offset: int) -> None:
        """Read ``partition`` from ``offset`` on."""
        if not self._ahead:
            self._due = time.monotonic() + _PATIENCE
        self._ahead[partition] = offset
        self._blank[partition] = offset
        with contextlib.suppress(KafkaException):  # it is being revoked
            self._consumer.pause([TopicPartition(*partition)])

    def make(self, paused: Callable[[Place], bool], *, polled_all: bool) -> None:
        """Jump, if it is time. ``paused``: whether a partition is to stay so."""
        if not self._ahead or not (polled_all or time.monotonic() >= self._due):
            return
        for partition, offset in self._ahead.items():
            where = [TopicPartition(*partition, offset)]
            with contextlib.suppress(KafkaException):  # it is being revoked
                self._consumer.incremental_unassign(where)
                self._consumer.incremental_assign(where)
                (self._consumer.pause if paused(partition) else self._consumer.resume)(where)
        self._ahead.clear()

    def target(self, partition: Place) -> int | None:
        """Where ``partition`` is to be read, and was not yet; None: how far the client has read it means something."""
        return self._blank.get(partition)

    def read(self, messages: list[Message]) -> None:
        """These were read, where they were to be read."""
        if self._blank:
            for partition in {(m.topic() or "", m.partition() or 0) for m in messages}:
                self._blank.pop(partition, None)

    def forget(self, partition: Place) -> None:
        """It has gone."""
        self._ahead.pop(partition, None)
        self._blank.pop(partition, None)
