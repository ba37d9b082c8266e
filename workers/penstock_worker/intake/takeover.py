"""Owns what a commit says besides its offset: how its owner was doing, for whoever takes over from it. Pure.

An owner writes ``open`` with every commit while it works, and ``shut`` when it hands the partition over in good order. Who
takes over from ``open`` knows that the owner died, or was thrown out, at that very offset, and counts it; progress resets the
count. ``alone`` is written before the jobs from that offset on, up to another, are run with nothing beside them: an owner
that ends there has most likely been killed by one of them.

Where it is known, the topic's id is written, too: one of the same name that was made since has another, and none of its
records is read yet.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

CAREFUL_FROM: Final = 2
"""So many owners in a row that ended at one offset without a word: what they held is run job by job."""

State = Literal["open", "shut", "alone"]

_METADATA: Final = re.compile(r"(open|shut|alone) (\d{1,9}) (\d{1,18})(?: ([\w+/=-]{1,64}))?", re.ASCII)


class Left(NamedTuple):
    """What the last owner of a partition has left."""

    takeovers: int = 0
    """How many owners in a row have ended at the committed offset without a word."""
    taken: int = 0
    """The offset after the last record that it is known to have taken in."""
    alone: bool = False
    """Whether the records from the committed offset up to :attr:`taken` were run alone when their owner ended."""
    topic_id: str = ""
    """The id of the topic that it read; empty where it did not say."""


def write_metadata(state: State, takeovers: int, taken: int, topic_id: str = "") -> str:
    """What a commit says: see :class:`Left`."""
    return f"{state} {takeovers} {taken} {topic_id}".rstrip()


def read_metadata(metadata: str | None) -> Left:
    """What the next owner reads of it; somebody else's says nothing."""
    found = _METADATA.fullmatch(metadata or "")
    if found is None:
        return Left()
    state, takeovers, taken = found.group(1), int(found.group(2)), int(found.group(3))
    return Left(takeovers + (state != "shut"), taken, state == "alone", found.group(4) or "")
