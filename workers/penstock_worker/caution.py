"""Owns the jobs that may have killed a whole worker: they are run by themselves, and nobody else pays for them.

Two owners of a partition in a row that ended at one offset without a word may have died of a job: of memory that ran out
for everything in their container, or with their node. What they held is then run in small chunks with nothing beside them,
and before each a commit says so. If this worker dies now, the next owner knows the chunk, and runs that job by job, each
announced in the same way. The owner after that knows the killer: it gives it another try later, by itself, or ends it, and
goes on behind it. A job that has killed an engine, or a worker, before is always announced.

As long as an announcement stands, no engine of this worker runs anything else: who is announced would be blamed for it.
"""

from __future__ import annotations

from collections import Counter, deque
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
_CHUNK: Final = 64
"""So many dangerous jobs are announced and run together, as long as it is not known to be one of them."""


class Judge(Protocol):
    """Who settles a job that has killed a worker."""

    def condemn(self, delivery: Delivery, *, blind: bool) -> None:
        """The one job of ``delivery`` was run alone when its worker died; ``blind``: it is better not even decoded."""
        ...


class Surroundings(Protocol):
    """What is done with jobs and partitions."""

    @property
    def others_wait(self) -> bool:
        """Whether other jobs wait for the engines."""
        ...

    def stands_at(self, partition: TopicPartition, offset: int) -> bool:
        """Whether all of ``partition`` before ``offset`` is settled."""
        ...

    def clear(self) -> bool:
        """Keep all other jobs from the engines, until :meth:`let_in`. False: these hold some still; to be asked again."""
        ...

    def announce(self, partition: TopicPartition, end: int) -> bool | None:
        """Commit that what comes next, up to ``end`` (excluded), is run alone.

        None: Kafka has not answered yet; to be asked again, with nothing else in between. False: it could not be.
        """
        ...

    def run_alone(self, delivery: Delivery) -> None:
        """Give ``delivery`` to an engine."""
        ...

    def withdraw(self, partition: TopicPartition) -> bool | None:
        """Commit that what was announced is settled. None and False as for :meth:`announce`."""
        ...

    def let_in(self) -> None:
        """Let the engines have other jobs again."""
        ...

    def hold(self, hold: Hold) -> None:
        """Fetch nothing of a partition until it is released."""
        ...

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch partitions again."""
        ...


class Caution:
    """The dangerous jobs of one worker, and the one of them that is under way."""

    def __init__(self, surroundings: Surroundings, judge: Judge, reach: int, most_bytes: int) -> None:
        """``reach``: how many records of a partition an owner may have taken in before it said so in a commit.

        ``most_bytes``: so many bytes wait here, in all partitions together, above one delivery.
        """
        self._surroundings = surroundings
        self._judge = judge
        self._reach = reach
        self._most_bytes = most_bytes
        self._bytes = 0
        self._jobs: Counter[TopicPartition] = Counter()
        """How many wait, by partition."""
        self._killers: dict[TopicPartition, Start] = {}
        """Starts with the one job that was run alone when the last owner ended."""
        self._known: dict[TopicPartition, int] = {}
        """Up to which offset, excluded, one of the jobs is known to have killed a worker: these are run job by job."""
        self._stretches: dict[TopicPartition, int] = {}
        """Up to which offset, excluded, jobs are dangerous."""
        self._waiting: deque[Delivery] = deque()
        self._held: set[TopicPartition] = set()
        self._settling: Entry | None = None
        """The entry of the job that is under way; of an announced one, until that is withdrawn."""
        self._standing: Entry | None = None
        """The entry of a job that is settled, and whose announcement the next one is about to take the place of."""
        self._clearing = False
        """Whether other jobs are kept from the engines."""

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
        if start.left.alone:
            if start.left.taken == start.offset + 1:
                self._killers[partition] = start
            self._known[partition] = self._stretches[partition] = start.left.taken
        if start.left.takeovers >= CAREFUL_FROM:
            end = min(max(start.left.taken, start.offset + self._reach), start.end)
            if end > max(start.offset, self._stretches.get(partition, 0)):
                self._stretches[partition] = end
        return partition in self._stretches

    def watches(self, partition: TopicPartition, offset: int) -> bool:
        """Whether the record at ``offset`` of ``partition`` is dangerous because of where it stands."""
        end = self._stretches.get(partition)
        if end is not None and offset >= end:
            del self._stretches[partition]
            return False
        return end is not None

    def chunk(self, partition: TopicPartition, offset: int) -> int:
        """How many jobs may be run together, from ``offset`` of ``partition`` on."""
        known = self._known.get(partition, 0)
        return 1 if offset < known else min(_CHUNK, max(1, self._stretches.get(partition, 0) - offset))

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Let deliveries, each of one job or of a chunk of one partition, wait for their turn."""
        for delivery in deliveries:
            delivery.isolation = Isolation.SOLO if len(delivery) == 1 else Isolation.ALONE
            self._waiting.append(delivery)
            self._count(delivery, 1)

    def overflows(self, partition: TopicPartition) -> bool:
        """Whether as much waits as may; then ``partition`` is to be held from its next job on."""
        return self._jobs[partition] >= _MOST or (self._bytes >= self._most_bytes and bool(self._waiting))

    def hold(self, partition: TopicPartition, offset: int) -> None:
        """Leave what is from ``offset`` on in Kafka, until the jobs that wait are done."""
        self._held.add(partition)
        self._surroundings.hold(Hold(partition, offset))

    def drop(self, partitions: set[TopicPartition]) -> int:
        """Let go of what waits and belongs to ``partitions``: their next owner repeats it. Returns how many."""
        concerned = self._concerns()
        dropped = [one for one in self._waiting if one.entry(0).partition in partitions]
        for one in dropped:
            self._count(one, -1)
        self._waiting = deque(one for one in self._waiting if one.entry(0).partition not in partitions)
        self._held -= partitions
        for partition in partitions:
            self._stretches.pop(partition, None)
            self._killers.pop(partition, None)
            self._known.pop(partition, None)
        if concerned in partitions:
            self._settling = self._standing = None
            self._clearing = False
            self._surroundings.let_in()
        return sum(map(len, dropped))

    def turn(self) -> None:
        """Go on with what is under way, as far as it is settled."""
        if self._settling is not None and not self._ended(self._settling):
            return
        self._settling = None
        if self._waiting:
            self._begin(self._waiting[0])
        elif self._held:
            held, self._held = self._held, set()
            self._surroundings.release(held)

    def _ended(self, entry: Entry) -> bool:
        """Whether ``entry`` is settled, and its announcement is withdrawn, or the next one is about to take its place."""
        if entry.unsettled > 0:
            return False
        following = self._waiting[0].entry(0) if self._waiting else None
        if following is not None and following.partition == entry.partition and not self._surroundings.others_wait:
            self._standing = entry
            return True
        if not self._surroundings.withdraw(entry.partition):
            return False
        self._let_in()
        return True

    def _begin(self, delivery: Delivery) -> None:
        entry = delivery.entry(0)
        partition, end = entry.partition, entry.next_offset
        first = end - 1 if len(delivery) == 1 else int(delivery.offsets[0])
        killer = self._killers.get(partition)
        if killer is not None and killer.offset == first:
            del self._killers[partition]
            self._judge.condemn(delivery, blind=killer.left.takeovers > _TRUSTED)
        elif not self._surroundings.stands_at(partition, first):
            self._pass()
            return
        else:
            self._clearing = True
            if not self._surroundings.clear():
                return
            announced = self._surroundings.announce(partition, end)
            if not announced:
                if announced is False:
                    self._pass()
                return
            self._surroundings.run_alone(delivery)
        self._count(self._waiting.popleft(), -1)
        self._settling, self._standing = entry, None

    def _pass(self) -> None:
        """The first one cannot run now. Perhaps the next one's turn has come; and what this one waits for may be a job."""
        self._waiting.rotate(-1)
        if self._standing is not None:
            self._settling, self._standing = self._standing, None  # it is withdrawn before others are let in
        else:
            self._let_in()

    def _concerns(self) -> TopicPartition | None:
        """The partition that engines are kept clear for, or that is spoken of with Kafka."""
        entry = self._settling or self._standing
        if entry is not None:
            return entry.partition
        return self._waiting[0].entry(0).partition if self._waiting else None

    def _let_in(self) -> None:
        if self._clearing:
            self._clearing = False
            self._surroundings.let_in()

    def _count(self, delivery: Delivery, sign: int) -> None:
        self._jobs[delivery.entry(0).partition] += sign * len(delivery)
        self._bytes += sign * delivery.bytes
