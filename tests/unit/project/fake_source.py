"""Owns an outcomes topic in memory, for trying the projector's loop without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from penstock_worker.project.plan import Records
from penstock_worker.project.source import Bounds


class FakeTopic:
    """The log: for each partition (key, value, time in ms). Shared by the members of a group."""

    def __init__(self, partitions: int = 1, topic_id: str = "T1") -> None:
        self.topic_id: str | None = topic_id
        self.logs: list[list[tuple[bytes | None, bytes | None, int]]] = [[] for _ in range(partitions)]


class FakeSource:
    """A member of the group that is assigned ``mine``."""

    def __init__(self, topic: FakeTopic, mine: AbstractSet[int], on_wait: Callable[[float], None]) -> None:
        self.topic = topic
        self.joined = True
        self.mine = set(mine)
        self.away = False
        self.closed = False
        self._new = set(mine)
        self._flowing: dict[int, int] = {}
        self._on_wait = on_wait

    @property
    def topic_id(self) -> str | None:
        return self.topic.topic_id

    @property
    def assigned(self) -> AbstractSet[int]:
        return self.mine

    def assign(self, partition: int) -> None:
        self.mine.add(partition)
        self._new.add(partition)

    def revoke(self, partition: int) -> None:
        self.mine.discard(partition)
        self._flowing.pop(partition, None)

    def trouble(self, partition: int) -> None:
        self._flowing.pop(partition, None)
        self._new.add(partition)

    def take(self, most: int, wait: float) -> list[Records]:
        taken: list[Records] = []
        for partition, offset in self._flowing.items():
            found = self.topic.logs[partition][offset : offset + most]
            if found:
                keys, values, times = zip(*found, strict=True)
                taken.append(Records(partition, keys, values, times, range(offset, offset + len(found))))
        for records in taken:
            self._flowing[records.partition] = records.offsets[-1] + 1
        if not taken:
            self._on_wait(wait)
        return taken

    def troubled(self) -> AbstractSet[int]:
        new, self._new = self._new, set()
        return new

    def start(self, partition: int, offset: int) -> None:
        self._flowing[partition] = offset

    def pause(self) -> None:
        self._flowing.clear()

    def bounds(self, partitions: Iterable[int], since_ms: int) -> Mapping[int, Bounds]:
        if self.away:
            self._on_wait(2.0)
        found: dict[int, Bounds] = {}
        for partition in () if self.away else partitions:
            log = self.topic.logs[partition]
            since = next((offset for offset, (_, _, time) in enumerate(log) if time >= since_ms), len(log))
            found[partition] = Bounds(0, len(log), since)
        return found

    def lag(self, positions: Sequence[tuple[int, int]], *, ask: bool = False) -> int:
        return sum(len(self.topic.logs[partition]) - offset for partition, offset in positions)

    def close(self) -> None:
        self.closed = True
