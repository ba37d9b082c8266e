"""Owns the jobs that may have killed a whole worker: they are run one at a time, and nobody else pays for them.

Two owners of a partition in a row that ended at one offset without a word may have died of a job: of memory that ran out
for everything in their container, or with their node. What they held is then run job by job; and so is, always, a job that
has killed an engine before. Before each of these, a commit says that the job at this very offset is run alone. If this worker
dies now, the next owner knows the killer: it gives it another try later, by itself, or ends it, and goes on behind it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from penstock_worker.intake.delivery import Isolation
from penstock_worker.intake.gate import Hold
from penstock_worker.intake.takeover import CAREFUL_FROM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import Entry, TopicPartition
    from penstock_worker.intake.placing import Start

_TRUSTED: Final = 2 * CAREFUL_FROM
"""When more owners than that have ended over a job that is announced and judged, judging it may be what ends them."""
_MOST: Final = 256
"""So many jobs of one partition wait here; the rest waits in Kafka."""


class Judge(Protocol):
    """Who settles a job that has killed a worker."""

    def condemn(self, delivery: Delivery, *, blind: bool) -> None:
        """The one job of ``delivery`` was run alone when its worker died; ``blind``: it is better not even decoded."""
        ...


class Surroundings(Protocol):
    """What is done with jobs and partitions."""

    def announce(self, partition: TopicPartition, offset: int) -> bool:
        """Commit, and wait for it, that the job at ``offset`` is run alone. False: something before it is not settled yet."""
        ...

    def commit_now(self) -> None:
        """Commit what is settled, and wait for it."""
        ...

    def run_alone(self, delivery: Delivery) -> None:
        """Give ``delivery`` to an engine."""
        ...

    def hold(self, hold: Hold) -> None:
        """Fetch nothing of a partition until it is released."""
        ...

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch partitions again."""
        ...


class Caution:
    """The dangerous jobs of one worker, and the one of them that is under way."""

    def __init__(self, surroundings: Surroundings, judge: Judge, reach: int) -> None:
        """``reach``: how many records of a partition an owner may have taken in before it said so in a commit."""
        self._surroundings = surroundings
        self._judge = judge
        self._reach = reach
        self._killers: dict[TopicPartition, Start] = {}
        """Starts with a job that was run alone when the last owner ended."""
        self._stretches: dict[TopicPartition, int] = {}
        """Up to which offset, excluded, jobs are dangerous."""
        self._waiting: deque[Delivery] = deque()
        self._held: set[TopicPartition] = set()
        self._settling: Entry | None = None
        """The entry of the job that is under way."""

    @property
    def busy(self) -> bool:
        """Whether a dangerous job waits or is under way."""
        return self._settling is not None or bool(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether no partition is being watched: then nobody needs to ask."""
        return not self._stretches

    def assigned(self, partition: TopicPartition, start: Start) -> bool:
        """A partition has come. Returns whether its first jobs are dangerous."""
        self.drop({partition})
        if start.offset is None:
            return False
        if start.left.killer:
            self._killers[partition] = start
            self._stretches[partition] = start.offset + 1
        if start.left.takeovers >= CAREFUL_FROM:
            end = min(max(start.left.taken, start.offset + self._reach), start.end)
            self._stretches[partition] = max(end, self._stretches.get(partition, 0))
        return self._stretches.get(partition, 0) > start.offset

    def watches(self, partition: TopicPartition, offset: int) -> bool:
        """Whether the record at ``offset`` of ``partition`` is dangerous because of where it stands."""
        end = self._stretches.get(partition)
        if end is not None and offset >= end:
            del self._stretches[partition]
            return False
        return end is not None

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Let deliveries of one job each wait for their turn."""
        for delivery in deliveries:
            delivery.isolation = Isolation.SOLO
            self._waiting.append(delivery)

    def overflows(self, partition: TopicPartition) -> bool:
        """Whether as many jobs of ``partition`` wait as may; then it is to be held from the next one on."""
        return sum(delivery.entry(0).partition == partition for delivery in self._waiting) >= _MOST

    def hold(self, partition: TopicPartition, offset: int) -> None:
        """Leave what is from ``offset`` on in Kafka, until the jobs that wait are done."""
        self._held.add(partition)
        self._surroundings.hold(Hold(partition, offset))

    def drop(self, partitions: set[TopicPartition]) -> int:
        """Let go of what waits and belongs to ``partitions``: their next owner repeats it. Returns how many."""
        before = len(self._waiting)
        self._waiting = deque(one for one in self._waiting if one.entry(0).partition not in partitions)
        self._held -= partitions
        for partition in partitions:
            self._stretches.pop(partition, None)
            self._killers.pop(partition, None)
        if self._settling is not None and self._settling.partition in partitions:
            self._settling = None
        return before - len(self._waiting)

    def turn(self) -> None:
        """Go on with what is under way, as far as it is settled."""
        if self._settling is not None:
            if self._settling.unsettled > 0:
                return
            ended, self._settling = self._settling, None
            if not self._waiting or self._waiting[0].entry(0).partition != ended.partition:
                self._surroundings.commit_now()  # else the next announcement does
        if self._waiting:
            self._begin(self._waiting[0])
        elif self._held:
            held, self._held = self._held, set()
            self._surroundings.release(held)

    def _begin(self, delivery: Delivery) -> None:
        entry = delivery.entry(0)
        partition, offset = entry.partition, entry.next_offset - 1
        killer = self._killers.get(partition)
        if killer is not None and killer.offset == offset:
            del self._killers[partition]
            self._judge.condemn(delivery, blind=killer.left.takeovers > _TRUSTED)
        elif self._surroundings.announce(partition, offset):
            self._surroundings.run_alone(delivery)
        else:
            self._waiting.rotate(-1)  # perhaps the next one's turn has come
            return
        self._waiting.popleft()
        self._settling = entry
