"""Owns the deliveries that wait for an engine: which may run beside others, which must have one, or all, to themselves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from penstock_worker.intake.delivery import Isolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import TopicPartition


class Backlog:
    """Three queues, each first in, first out."""

    def __init__(self) -> None:
        self.normal: deque[Delivery] = deque()
        self.isolated: deque[Delivery] = deque()
        self.announced: deque[Delivery] = deque()

    def __bool__(self) -> bool:
        return bool(self.normal or self.isolated or self.announced)

    def add(self, delivery: Delivery) -> None:
        """Let ``delivery`` wait behind its like."""
        self._queue(delivery).append(delivery)

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let ``deliveries`` wait in front of their like, in their order."""
        for delivery in reversed(deliveries):
            self._queue(delivery).appendleft(delivery)

    def calm(self) -> None:
        """What is announced is so no more: its partition has gone. It is isolated still."""
        for delivery in self.announced:
            delivery.announced = False
        self.isolated.extend(self.announced)
        self.announced.clear()

    def drop(self, partitions: set[TopicPartition]) -> int:
        """Let go of the jobs that were read from ``partitions``. Returns how many."""
        before = self._jobs()
        self.normal = _without(self.normal, partitions)
        self.isolated = _without(self.isolated, partitions)
        self.announced = _without(self.announced, partitions)
        return before - self._jobs()

    def _queue(self, delivery: Delivery) -> deque[Delivery]:
        if delivery.announced:
            return self.announced
        return self.normal if delivery.isolation == Isolation.NONE else self.isolated

    def _jobs(self) -> int:
        return sum(map(len, (*self.normal, *self.isolated, *self.announced)))


def _without(queue: deque[Delivery], partitions: set[TopicPartition]) -> deque[Delivery]:
    kept: deque[Delivery] = deque()
    for delivery in queue:
        # Where a job was read: its columns tell its origin, which for a retried one is elsewhere.
        gone = [entry.partition in partitions for entry in delivery.entries]
        if not any(gone):
            kept.append(delivery)
        elif not all(gone):
            which = delivery.which
            stay = [i for i in range(len(delivery)) if not gone[0 if which is None else int(which[i])]]
            if stay:
                kept.append(delivery.part(stay))
    return kept
