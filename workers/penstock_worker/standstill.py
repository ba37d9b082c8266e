"""Owns noticing partitions that a Kafka client has but does not fetch, from the statistics that it gives of itself.

librdkafka (2.16) stops fetching a partition that it cannot go on with, and says so once, in the partition's own queue. By its
source it throws away what waits there when a partition is paused, as all are for a moment in a rebalance. In a trial the word
came through all the same; but who misses it stands still for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

EVERY_MS: Final = 2000
"""How often the client gives them."""

Place = tuple[str, int]


class Standstill:
    """What :meth:`told` was told twice in a row is handed out by :meth:`take`, once."""

    def __init__(self) -> None:
        self._suspects: set[Place] = set()
        self._found: set[Place] = set()

    def told(self, statistics: str) -> None:
        """The client's statistics callback."""
        idle = set(_idle(orjson.loads(statistics)))
        self._found |= idle & self._suspects
        self._suspects = idle

    def take(self) -> set[Place]:
        """Partitions, by topic and number, that stand still, and were not handed out since they were found to."""
        found, self._found = self._found, set()
        self._suspects -= found
        return found


def _idle(statistics: dict[str, Any]) -> Iterator[Place]:
    for topic, told in statistics.get("topics", {}).items():
        for number, partition in told.get("partitions", {}).items():
            if partition.get("desired") and partition.get("fetch_state") == "none":
                yield topic, int(number)
