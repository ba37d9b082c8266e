"""Owns what the projector asks of the outcomes topic: a narrow port, so that its loop can be tried without Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from penstock_worker.project.plan import Records


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the log of one partition spans: ``low`` to ``high`` (exclusive).

    ``since`` is the first offset of a given time or later; ``high`` where nothing is so young.
    """

    low: int
    high: int
    since: int


class Source(Protocol):
    """The outcomes topic as a member of the projectors' group sees it. Not safe for several threads.

    A partition flows from :meth:`start` on, until it is paused, lost, or in trouble.
    """

    @property
    def joined(self) -> bool:
        """Whether the group has answered at least once, with partitions or without."""
        ...

    @property
    def topic_id(self) -> str | None:
        """The id of the topic that has the name now, as of a second or two ago; None while it is unknown."""
        ...

    @property
    def assigned(self) -> AbstractSet[int]:
        """The partitions that are ours."""
        ...

    def take(self, most: int, wait: float) -> list[Records]:
        """Up to ``most`` records by partition; waits up to ``wait`` seconds for the first one and for no other."""
        ...

    def troubled(self) -> AbstractSet[int]:
        """Partitions that came anew since the last call, or stopped because their next offset is not in the log."""
        ...

    def start(self, partition: int, offset: int) -> None:
        """Let an assigned partition flow from ``offset``; nothing fetched before comes any more."""
        ...

    def pause(self) -> None:
        """Let nothing flow any more until the partitions are started again, and stay in the group."""
        ...

    def bounds(self, partitions: Iterable[int], since_ms: int) -> Mapping[int, Bounds]:
        """What the logs of ``partitions`` span; those that cannot be found out just now are missing."""
        ...

    def lag(self, positions: Sequence[tuple[int, int]], *, ask: bool = False) -> int:
        """Records at or after these (partition, offset) in the log, as far as fetching has told; ``ask``: the broker is."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...
