"""Owns which retry records are due: a partition of a retry topic waits until its head is. Pure.

A record is due its tier's delay after its LogAppendTime. All of one topic wait equally long, so what is behind the head is
never due before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple, Protocol, TypeVar

from penstock_worker.intake.ledger import TopicPartition

_LEAST_WAIT_MS: Final = 1000.0
"""A partition is looked at again no sooner: each look throws its prefetch away, so records that trickle in come together."""


class Stamped(Protocol):
    """As much of a Kafka message as matters here."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def timestamp(self) -> tuple[int, int]: ...


S = TypeVar("S", bound=Stamped)


class Hold(NamedTuple):
    """A partition is to be read again from ``offset``, not before it is released."""

    partition: TopicPartition
    offset: int


class Gate:
    """Holds retry partitions until their heads are due. ``delays``: by topic, in seconds."""

    def __init__(self, delays: Mapping[str, float]) -> None:
        self._delays_ms = {topic: delay * 1000 for topic, delay in delays.items()}
        self._until_ms: dict[TopicPartition, float] = {}

    @property
    def holding(self) -> bool:
        return bool(self._until_ms)

    def sift(self, messages: Sequence[S], now_ms: float | None) -> tuple[list[S], list[Hold]]:
        """What of ``messages`` is due, and which partitions are to wait from which offset on.

        ``now_ms``: the broker's time; None where it is not known, and nothing is due.
        """
        due: list[S] = []
        holds: list[Hold] = []
        for partition, run in _by_partition(messages):
            delay = self._delays_ms[partition[0]]
            for message in run:
                due_ms = message.timestamp()[1] + delay
                if now_ms is not None and due_ms <= now_ms:
                    due.append(message)
                    continue
                self._until_ms[partition] = max(due_ms, now_ms + _LEAST_WAIT_MS) if now_ms is not None else 0.0
                holds.append(Hold(partition, message.offset() or 0))
                break
        return due, holds

    def ripe(self, now_ms: float) -> list[TopicPartition]:
        """The partitions whose head is due now; they are held no longer."""
        ripe = [partition for partition, until_ms in self._until_ms.items() if until_ms <= now_ms]
        for partition in ripe:
            del self._until_ms[partition]
        return ripe

    def forget(self, partition: TopicPartition) -> None:
        """It has come anew, or gone."""
        self._until_ms.pop(partition, None)


def _by_partition(messages: Sequence[S]) -> Iterator[tuple[TopicPartition, list[S]]]:
    """Messages by partition, each partition's in order."""
    found: dict[TopicPartition, list[S]] = {}
    for partition, run in groupby(messages, lambda message: (message.topic() or "", message.partition() or 0)):
        found.setdefault(partition, []).extend(run)
    yield from found.items()
