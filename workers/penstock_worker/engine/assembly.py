"""Owns which jobs meet in a batch: one lane per model, version, signature and inner shape, counted in rows.

Pure: time comes in as an argument, nothing is run here. A batch is whole jobs whose rows together fit the lane's limit, or
exactly one job that alone is larger than that (the runner splits and joins it again).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from penstock_worker.engine.batch_limit import BatchLimit


class Queued(Protocol):
    """Jobs that wait together: ``jobs`` of them, ``rows`` rows each, decoded at ``ready_at`` (monotonic seconds).

    ``bytes`` is the size of all their records.
    """

    @property
    def jobs(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def ready_at(self) -> float: ...
    @property
    def solo(self) -> bool: ...


B = TypeVar("B", bound=Queued)


class Piece(NamedTuple, Generic[B]):
    """Jobs ``begin`` to ``end`` (excluded) of ``block``."""

    block: B
    begin: int
    end: int

    @property
    def jobs(self) -> int:
        return self.end - self.begin

    @property
    def rows(self) -> int:
        return (self.end - self.begin) * self.block.rows


@dataclass(frozen=True, slots=True)
class Policy:
    """How one lane batches: ``max_delay`` in seconds is how long a job waits for company; not ``batched``: one job a call.

    ``limit`` says how many rows a call may have; it changes while jobs wait.
    """

    limit: BatchLimit
    max_delay: float
    batched: bool


@dataclass(slots=True)
class _Lane(Generic[B]):
    policy: Policy
    blocks: deque[B] = field(default_factory=deque[B])
    cursor: int = 0
    """Jobs of the head block that are taken already."""
    rows: int = 0
    """Rows that wait."""


class Assembler(Generic[B]):
    """The lanes of one engine. Lanes are served oldest head first; an empty lane is forgotten.

    From ``most_jobs`` jobs or ``most_bytes`` bytes on, in all lanes together, nobody waits for company: the worker's parent
    holds the rest back until some of these are done.
    """

    def __init__(self, most_jobs: float = math.inf, most_bytes: float = math.inf) -> None:
        self._lanes: dict[Hashable, _Lane[B]] = {}
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._jobs = 0
        self._bytes = 0.0

    def __len__(self) -> int:
        """How many rows wait, in all lanes."""
        return sum(lane.rows for lane in self._lanes.values())

    def add(self, key: Hashable, policy: Policy, block: B) -> None:
        """Let ``block`` wait in the lane ``key``; ``policy`` is the lane's from its first block on."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(policy)
        lane.blocks.append(block)
        lane.rows += block.jobs * block.rows
        self._jobs += block.jobs
        self._bytes += block.bytes

    def delay(self, now: float) -> float | None:
        """Seconds until a batch is due (0: now), or None where nothing waits."""
        return min((self._due_in(lane, now) for lane in self._lanes.values()), default=None)

    def take(self, now: float) -> list[Piece[B]]:
        """The next due batch, or an empty list."""
        due = [
            (lane.blocks[0].ready_at, i, key)
            for i, (key, lane) in enumerate(self._lanes.items())
            if self._due_in(lane, now) <= 0
        ]
        if not due:
            return []
        key = min(due)[2]
        lane = self._lanes[key]
        pieces = _fill(lane)
        self._jobs -= sum(piece.jobs for piece in pieces)
        self._bytes -= sum(piece.block.bytes * piece.jobs / piece.block.jobs for piece in pieces)
        if not lane.blocks:
            del self._lanes[key]
        return pieces

    def _due_in(self, lane: _Lane[B], now: float) -> float:
        policy, head = lane.policy, lane.blocks[0]
        if policy.max_delay == 0 or not policy.batched or head.solo or lane.rows >= policy.limit.rows:
            return 0.0
        if self._jobs >= self._most_jobs or self._bytes >= self._most_bytes * 0.99:  # its sums are of fractions
            return 0.0
        return max(0.0, head.ready_at + policy.max_delay - now)


def _fill(lane: _Lane[B]) -> list[Piece[B]]:
    """Take whole jobs from the head of ``lane`` until the next would not fit."""
    pieces: list[Piece[B]] = []
    most = room = lane.policy.limit.rows
    while lane.blocks:
        block = lane.blocks[0]
        alone = block.solo or not lane.policy.batched or block.rows > most
        if alone and pieces:
            break
        count = 1 if alone else min(room // block.rows, block.jobs - lane.cursor)
        if count == 0:
            break
        piece = Piece(block, lane.cursor, lane.cursor + count)
        pieces.append(piece)
        room -= piece.rows
        lane.rows -= piece.rows
        lane.cursor = piece.end
        if lane.cursor == block.jobs:
            lane.blocks.popleft()
            lane.cursor = 0
        if alone:
            break
    return pieces


def halve(pieces: list[Piece[B]]) -> tuple[list[Piece[B]], list[Piece[B]]]:
    """Split a batch of two or more jobs into two of nearly equal numbers of jobs, in order."""
    left: list[Piece[B]] = []
    right: list[Piece[B]] = []
    wanted = sum(piece.jobs for piece in pieces) // 2
    for piece in pieces:
        cut = min(piece.end, piece.begin + wanted)
        if cut > piece.begin:
            left.append(Piece(piece.block, piece.begin, cut))
        if cut < piece.end:
            right.append(Piece(piece.block, cut, piece.end))
        wanted -= cut - piece.begin
    return left, right


def next_call(rows: int, most: int, sizes: Sequence[int] | None) -> tuple[int, int]:
    """How many of ``rows`` rows that are left the next call takes, at most ``most``, and how many it is made with.

    Without ``sizes`` nothing is padded; else ``most`` is one of them.
    """
    taken = min(rows, most)
    return taken, taken if sizes is None else next(size for size in sizes if size >= taken)
