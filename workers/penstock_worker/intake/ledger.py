"""Owns what may be committed: the contiguous settled prefix of each assigned partition.

The ledger holds one entry per delivery and partition with a count of its unsettled records, not an object per job. A
partition's entries stand in offset order; an entry leaves the head of its queue when its count is zero, and only then
does the partition's position move past it. An assignment is an epoch: entries of a revoked partition are forgotten by
the ledger, and settling them later changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

TopicPartition = tuple[str, int]


class Mark(NamedTuple):
    """What is committed of one partition: the next offset, and what whoever takes over from there should know."""

    offset: int
    takeovers: int
    """How many owners in a row have ended there without a word."""
    taken: int
    """The offset after the last record that was taken in."""
    alone: bool = False
    """Whether the records from :attr:`offset` up to :attr:`taken` are run with nothing beside them."""


class Entry:
    """A run of records of one partition that travel together; ``unsettled`` of them still need their confirmation."""

    __slots__ = ("next_offset", "partition", "unsettled")

    def __init__(self, partition: TopicPartition, next_offset: int, records: int) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self.unsettled = records

    def settle(self, records: int = 1) -> None:
        """Count ``records`` of this run as settled: the broker has confirmed what takes their place."""
        self.unsettled -= records


@dataclass(slots=True)
class _Partition:
    entries: deque[Entry] = field(default_factory=deque[Entry])
    expected: int | None = None
    """The offset that the next record should have; unknown until the first one."""
    position: int | None = None
    """Everything before this offset is settled; unknown until something is."""
    told: int | None = None
    """The position that was last handed out for committing."""
    takeovers: int = 0
    """How many owners in a row have ended at :attr:`position` without a word; 0 once it has moved."""
    alone_until: int | None = None
    """Up to which offset, excluded, records are run with nothing beside them; None once the position has moved."""
    inherited: int | None = None
    """What the last owner has left of that, while this one has announced nothing."""

    def advance(self) -> None:
        """Move the position past what is settled without a hole."""
        entries = self.entries
        if entries and entries[0].unsettled <= 0:
            self.takeovers, self.alone_until, self.inherited = 0, None, None
            while entries and entries[0].unsettled <= 0:
                self.position = entries.popleft().next_offset

    def mark(self, position: int) -> Mark:
        if self.alone_until is not None:
            return Mark(position, self.takeovers, self.alone_until, alone=True)
        return Mark(position, self.takeovers, max(position, self.expected or 0))


class Ledger:
    """What each assigned partition has taken in, and how far that is settled without a hole."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}

    def assign(
        self, partition: TopicPartition, expected: int | None = None, takeovers: int = 0, alone_until: int | None = None
    ) -> None:
        """Begin a new epoch of ``partition``, from offset ``expected`` if it is known; an earlier one is forgotten.

        Its first position is handed out for committing, too: the next owner should read there that this one was here, and
        still what it was told itself (``alone_until``), until there is progress.
        """
        self._partitions[partition] = _Partition(
            expected=expected, position=expected, takeovers=takeovers, alone_until=alone_until, inherited=alone_until
        )

    def stands_at(self, partition: TopicPartition, offset: int) -> bool:
        """Whether all of ``partition`` before ``offset`` is settled, and nothing else."""
        held = self._partitions.get(partition)
        if held is None:
            return False
        held.advance()
        return held.position == offset

    def announce(self, partition: TopicPartition, end: int) -> Mark:
        """What to commit before records from where ``partition`` stands to ``end`` (excluded) are run alone, and until then."""
        held = self._partitions[partition]
        assert held.position is not None, "asked of a partition that stands nowhere"
        held.told, held.alone_until = held.position, end
        return held.mark(held.position)

    def retract(self, partition: TopicPartition) -> None:
        """They are not, as that could not be committed; or perhaps it was, and is to be overwritten."""
        held = self._partitions.get(partition)
        if held is not None:
            held.told, held.alone_until = None, held.inherited

    def revoke(self, partition: TopicPartition) -> None:
        """End the epoch: nothing of ``partition`` is committed any more."""
        self._partitions.pop(partition, None)

    def assigned(self) -> list[TopicPartition]:
        return list(self._partitions)

    def skipped(self, partition: TopicPartition, first_offset: int) -> tuple[int, int] | None:
        """The offsets (both included) between where this epoch is and ``first_offset``, or None where none is missing.

        Offsets may be missing inside a log (transaction markers) or because retention overtook the reader: the caller
        tells which.
        """
        held = self._partitions.get(partition)
        if held is None or held.expected is None or held.expected >= first_offset:
            return None
        return held.expected, first_offset - 1

    def open(self, partition: TopicPartition, first_offset: int, last_offset: int, records: int) -> Entry:
        """Enter a run of ``records`` from ``first_offset`` to ``last_offset``, behind the runs that are there.

        A run of a partition that is not assigned gets an entry that the ledger does not hold: settling it changes nothing.
        """
        entry = Entry(partition, last_offset + 1, records)
        held = self._partitions.get(partition)
        if held is not None:
            if held.position is None:
                held.position = held.told = first_offset
            held.expected = last_offset + 1
            held.entries.append(entry)
        return entry

    def committable(self) -> dict[TopicPartition, Mark]:
        """The positions that moved since they were last handed out here."""
        moved: dict[TopicPartition, Mark] = {}
        for partition, held in self._partitions.items():
            held.advance()
            if held.position is not None and held.position != held.told:
                held.told = held.position
                moved[partition] = held.mark(held.position)
        return moved

    def marks(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Mark]:
        """Where ``partitions`` stand, moved or not: for the last commit before they are let go."""
        marks: dict[TopicPartition, Mark] = {}
        for partition in partitions:
            held = self._partitions.get(partition)
            if held is not None:
                held.advance()
                if held.position is not None:
                    marks[partition] = held.mark(held.position)
        return marks

    def idle(self) -> list[TopicPartition]:
        """The partitions of which nothing is under way."""
        return [partition for partition, held in self._partitions.items() if not held.entries]

    def pass_over(self, partition: TopicPartition, offset: int) -> None:
        """Nothing is under way, and what lies before ``offset`` and was not taken in held no record: transactions' marks."""
        held = self._partitions.get(partition)
        if held is not None and not held.entries and offset > max(held.position or 0, held.expected or 0):
            held.position = held.expected = offset

    def recommit(self) -> None:
        """Hand every position out once more: a commit has failed."""
        for held in self._partitions.values():
            held.told = None

    def positions(self) -> dict[TopicPartition, int]:
        """How far each partition is settled, where anything is."""
        return {partition: held.position for partition, held in self._partitions.items() if held.position is not None}

    def unsettled(self, partitions: set[TopicPartition] | None = None) -> int:
        """How many records of ``partitions`` (of all, if None) are taken in and not settled."""
        return sum(
            entry.unsettled
            for partition, held in self._partitions.items()
            if partitions is None or partition in partitions
            for entry in held.entries
        )
