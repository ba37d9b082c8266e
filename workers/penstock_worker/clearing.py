"""Owns how dangerous jobs get a worker to themselves: engines that hold nothing else, and a commit that says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock_worker.engine.pool import Pool
    from penstock_worker.intake.consumer import Intake
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.gate import Hold
    from penstock_worker.intake.ledger import Ledger, TopicPartition

_AGAIN: Final = 0.2
"""How long after a commit that could not be the next one waits, in seconds."""


class Clearing:
    """One worker's :class:`~penstock_worker.caution.Surroundings`."""

    def __init__(self, pool: Pool, ledger: Ledger, intake: Intake) -> None:
        self._pool = pool
        self._ledger = ledger
        self._intake = intake
        self._due = 0.0
        self._asked: tuple[TopicPartition, int | None] | None = None
        """The partition whose commit is not answered yet, and up to where that announces; None where it withdraws."""

    @property
    def others_wait(self) -> bool:
        return self._pool.others_wait

    def stands_at(self, partition: TopicPartition, offset: int) -> bool:
        return self._ledger.stands_at(partition, offset)

    def clear(self) -> bool:
        return self._pool.close()

    @property
    def asking(self) -> bool:
        """Whether the answer to a commit is waited for."""
        return self._asked is not None

    def announce(self, partition: TopicPartition, end: int) -> bool | None:
        return self._commit((partition, end))

    def run_alone(self, delivery: Delivery) -> None:
        delivery.announced = True
        self._pool.add(delivery)

    def withdraw(self, partition: TopicPartition) -> bool | None:
        return self._commit((partition, None))

    def let_in(self) -> None:
        self._asked = None
        self._pool.let_in()

    def hold(self, hold: Hold) -> None:
        self._intake.hold(hold)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        self._intake.release(partitions)

    def _commit(self, asked: tuple[TopicPartition, int | None]) -> bool | None:
        """Commit, once, and say what Kafka has answered: to be called until that is not None."""
        partition, end = asked
        if asked != self._asked:
            self._asked = None
            if time.monotonic() < self._due:
                return False
            self._asked = asked
            marks = self._ledger.marks([partition]) if end is None else {partition: self._ledger.announce(partition, end)}
            self._intake.commit(marks)
        taken = self._intake.answer([partition])
        if taken is None:
            return None
        self._asked = None
        if not taken:
            self._due = time.monotonic() + _AGAIN  # the group rebalances, or Kafka is away
            if end is not None:
                self._ledger.retract(partition)
        return taken
