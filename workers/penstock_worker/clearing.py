"""Owns how dangerous jobs get a worker to themselves: engines that hold nothing else, and a commit that says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from penstock_worker.engine.pool import Pool
    from penstock_worker.intake.consumer import Intake
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.gate import Hold
    from penstock_worker.intake.ledger import Ledger, Mark, TopicPartition

_AGAIN: Final = 0.2
"""How long after a commit that could not be the next one waits, in seconds."""


class Clearing:
    """One worker's :class:`~penstock_worker.caution.Surroundings`."""

    def __init__(self, pool: Pool, ledger: Ledger, intake: Intake) -> None:
        self._pool = pool
        self._ledger = ledger
        self._intake = intake
        self._due = 0.0

    @property
    def others_wait(self) -> bool:
        return self._pool.others_wait

    def stands_at(self, partition: TopicPartition, offset: int) -> bool:
        return self._ledger.stands_at(partition, offset)

    def clear(self) -> bool:
        return self._pool.close()

    def announce(self, partition: TopicPartition, end: int) -> bool:
        if time.monotonic() < self._due:
            return False
        committed = self._commit({partition: self._ledger.announcement(partition, end)})
        self._ledger.announced(partition, end, committed=committed)
        return committed

    def run_alone(self, delivery: Delivery) -> None:
        delivery.announced = True
        self._pool.add(delivery)

    def withdraw(self, partition: TopicPartition) -> bool:
        return time.monotonic() >= self._due and self._commit(self._ledger.marks([partition]))

    def let_in(self) -> None:
        self._pool.let_in()

    def hold(self, hold: Hold) -> None:
        self._intake.hold(hold)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        self._intake.release(partitions)

    def _commit(self, marks: Mapping[TopicPartition, Mark]) -> bool:
        """Commit, and wait for the broker."""
        committed = self._intake.commit(marks, wait=True)
        if not committed:
            self._due = time.monotonic() + _AGAIN  # the group rebalances, or Kafka is away
        return committed
