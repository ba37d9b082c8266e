"""Owns a delivery: the records of one topic that travel to an engine together, and what is still unanswered of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock_schemas.headers import UNREADABLE
from penstock_schemas.retries import Tries, parse_tries

if TYPE_CHECKING:
    from confluent_kafka import Message
    from numpy.typing import NDArray

    from penstock_worker.intake.ledger import Entry

Headers = list[tuple[str, bytes | None]]


class Isolation(IntEnum):
    """How far the jobs of a delivery are kept from others, because one of them may have killed an engine."""

    NONE = 0
    ALONE = 1
    """An engine that gets it has nothing else on its way: what dies then, dies of this."""
    SOLO = 2
    """The same, and each of its jobs is run by itself."""


class Delivery:
    """Records as columns. ``entries[which[i]]`` is the ledger's entry of record ``i`` (``which`` is None where there is one).

    ``topic``, ``partitions``, ``offsets`` and ``timestamps_ms`` (ms since the epoch) tell a job's first record, its origin;
    for one that came back from a retry topic (``retried``), the ledger's entry alone knows where it was read.
    """

    __slots__ = (
        "announced",
        "answered",
        "bytes",
        "entries",
        "headers",
        "isolation",
        "keys",
        "last_chance",
        "left",
        "offsets",
        "partitions",
        "retried",
        "sequence",
        "timestamps_ms",
        "topic",
        "values",
        "which",
    )

    def __init__(
        self,
        topic: str,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        timestamps_ms: NDArray[np.int64],
        partitions: NDArray[np.int32],
        offsets: NDArray[np.int64],
        headers: Mapping[int, Headers],
    ) -> None:
        self.topic = topic
        self.values = values
        self.keys = keys
        self.timestamps_ms = timestamps_ms
        self.partitions = partitions
        self.offsets = offsets
        self.headers = headers
        self.bytes = sum(map(len, filter(None, values)))
        self.entries: list[Entry] = []
        self.which: NDArray[np.int32] | None = None
        self.sequence = -1
        self.isolation = Isolation.NONE
        self.announced = False
        """A commit says that its jobs run now, and nothing else in the whole worker may."""
        self.retried = False
        self.last_chance = False
        """Its jobs have waited for their model as long as they may: they are run, however that does."""
        self.left = len(values)
        self.answered = np.zeros(len(values), np.bool_)

    def __len__(self) -> int:
        return len(self.values)

    def entry(self, index: int) -> Entry:
        return self.entries[0 if self.which is None else int(self.which[index])]

    def tries(self, index: int) -> Tries:
        """What is known of a job besides what it says itself."""
        return parse_tries(
            self.headers.get(index, ()),
            topic=self.topic,
            partition=int(self.partitions[index]),
            offset=int(self.offsets[index]),
            timestamp_ms=int(self.timestamps_ms[index]),
            retried=self.retried,
        )

    def answer(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Mark ``indices`` as answered; returns those that were not before (an engine that died may have said them already)."""
        fresh = indices[~self.answered[indices]]
        self.answered[fresh] = True
        self.left -= len(fresh)
        return fresh

    def unanswered(self) -> NDArray[np.int64]:
        return np.flatnonzero(~self.answered)

    def part(self, indices: Sequence[int] | NDArray[np.int64], isolation: Isolation | None = None) -> Delivery:
        """A new delivery of the records at ``indices``, on the same entries; ``isolation``: another one than this has."""
        chosen = [int(i) for i in indices]
        again = Delivery(
            self.topic,
            [self.values[i] for i in chosen],
            [self.keys[i] for i in chosen],
            self.timestamps_ms[chosen],
            self.partitions[chosen],
            self.offsets[chosen],
            {new: self.headers[old] for new, old in enumerate(chosen) if old in self.headers},
        )
        again.entries = self.entries
        again.which = None if self.which is None else self.which[chosen]
        again.isolation = self.isolation if isolation is None else isolation
        again.announced = self.announced
        again.retried = self.retried
        again.last_chance = self.last_chance
        return again


def from_messages(topic: str, messages: Sequence[Message]) -> Delivery:
    """Columns of ``messages``, all of ``topic`` and none of them an error."""
    count = len(messages)
    return Delivery(
        topic,
        [m.value() for m in messages],
        [m.key() for m in messages],
        np.fromiter([m.timestamp()[1] for m in messages], np.int64, count),
        np.fromiter([m.partition() for m in messages], np.int32, count),
        np.fromiter([m.offset() for m in messages], np.int64, count),
        read_headers(messages),
    )


def read_headers(messages: Sequence[Message]) -> dict[int, Headers]:
    """The headers of those of ``messages`` that have any.

    Each message is asked once: where a name is no UTF-8 (Kafka takes any bytes for one) the client raises the first time, and
    the second time hands out a tuple with a hole in it, which ends the process.
    """
    found: dict[int, Headers] = {}
    for i, message in enumerate(messages):
        try:
            own: Any = message.headers()
        except (SystemError, UnicodeDecodeError):
            own = [(UNREADABLE, b"1")]
        if own:
            found[i] = own
    return found


def runs(column: NDArray[np.int32]) -> list[tuple[int, int]]:
    """The stretches ``(begin, end)`` of equal neighbours in ``column``, which is not empty."""
    edges = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
    return list(itertools.pairwise(edges))
