"""Owns where the projector stands in a partition, and the decision where it starts to read. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

NOTHING: Final = b""
"""What stands for a position that is not there."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition is applied: the topic's id (a topic made again has another) and the next offset."""

    topic_id: str
    next_offset: int

    def encode(self) -> bytes:
        """As it stands in Redis, readable by a person: ``<topic id> <next offset>``."""
        return b"%s %d" % (self.topic_id.encode(), self.next_offset)

    @classmethod
    def decode(cls, stored: bytes) -> Self | None:
        """None where ``stored`` is nothing, or nothing that :meth:`encode` wrote."""
        topic_id, _, offset = stored.partition(b" ")
        if not topic_id or not offset.isdigit() or len(offset) > 19:
            return None
        return cls(topic_id.decode(errors="replace"), int(offset))


@dataclass(slots=True)
class Track:
    """What the projector knows of one partition that it is assigned.

    ``expected`` is what Redis must hold for the next change to be applied; ``sent`` the next offset after all that was sent to
    Redis, ``applied`` after all that Redis confirmed. Records below ``live_from`` were announced before, or by someone else.
    ``synced`` is False while it is unknown what Redis holds: nothing is applied then.
    """

    partition: int
    topic_id: str = ""
    expected: bytes = NOTHING
    sent: int = 0
    applied: int = 0
    live_from: int = 0
    synced: bool = False
    known: bool = False
    """Whether ``applied`` says anything: False until the first start."""


class Cause(StrEnum):
    """Why a partition's reading starts where it does."""

    CONTINUED = "continued"
    """Redis holds a position, and this projector knew no other."""
    MOVED = "moved"
    """Redis is further than this projector knew: another one applied records, or a call that seemed lost was none."""
    OLDER = "older"
    """Redis is behind what it had confirmed: an older copy was put back."""
    MISSING = "missing"
    """Redis holds no position: it is new, or was flushed."""
    OTHER_TOPIC = "other_topic"
    """The position is that of a topic of the same name which is no more."""
    PAST_END = "past_end"
    """The position lies behind the log's end: the log lost records."""

    @property
    def is_heal(self) -> bool:
        """Whether results that were there before are written again."""
        return self not in (Cause.CONTINUED, Cause.MOVED)


@dataclass(frozen=True, slots=True)
class Start:
    """Where to read on. ``offset`` None: at the first record younger than ``result_ttl``."""

    cause: Cause
    offset: int | None
    live_from: int


def decide_start(stored: bytes, track: Track, topic_id: str, low: int, high: int) -> Start:
    """Where to read on, if Redis holds ``stored`` for the partition and its log spans ``low`` to ``high`` (exclusive)."""
    position = Position.decode(stored)
    same_topic = track.known and track.topic_id == topic_id
    # Whatever was confirmed was announced; of records behind that nobody knows, so they count as live.
    announced = max(track.live_from, track.applied) if same_topic else None
    if position is None or position.topic_id != topic_id or position.next_offset > high:
        if position is None:
            cause = Cause.MISSING
        else:
            cause = Cause.OTHER_TOPIC if position.topic_id != topic_id else Cause.PAST_END
        return Start(cause, None, high if announced is None else min(announced, high))
    offset = max(position.next_offset, low)
    if announced is None:
        return Start(Cause.CONTINUED, offset, 0)
    if position.next_offset < track.applied:
        return Start(Cause.OLDER, offset, announced)
    cause = Cause.CONTINUED if position.next_offset == track.applied else Cause.MOVED
    return Start(cause, offset, track.live_from)
