"""Owns what the projector asks of the result cache: a narrow port, its errors, and an in-memory version of it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from penstock_worker.project.plan import Change, Replacement
from penstock_worker.project.position import NOTHING

MOVED: Final = -1
"""The answer to a change whose partition's position was not the expected one: nothing was changed."""

_GENERATION: Final = re.compile(rb'\{"contract":"[^"]*","generation":(\d+)')


class StoreUnavailable(Exception):
    """Redis does not take changes just now. ``kind`` is one word for it; what was sent may or may not have been applied."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class StoreUnsuitable(Exception):
    """This Redis cannot keep the fleet's promises, however long one waits; the message says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The positions that Redis holds (``NOTHING`` where there is none), and its clock in ms since 1970."""

    positions: Sequence[bytes]
    now_ms: int


class Store(Protocol):
    """The result cache as the projector sees it. Every call may raise StoreUnavailable; all that is under way is void then."""

    def check(self) -> None:
        """Raise StoreUnsuitable where this store cannot keep the promises."""
        ...

    def read(self, partitions: Sequence[int]) -> Standing:
        """The positions of ``partitions``, in their order. Needed before the first change; not while changes are under way."""
        ...

    def send(self, changes: Sequence[Change], announce: Mapping[str, Sequence[bytes]]) -> None:
        """Start to apply ``changes``, each all or nothing, then to tell clients (by id) which job ids to look for."""
        ...

    def receive(self) -> list[int]:
        """The answers to the earliest :meth:`send` not received yet: how many results each change wrote, or ``MOVED``."""
        ...

    def drop(self) -> None:
        """Forget what is under way; the next call begins afresh."""
        ...


class MemoryStore:
    """The same in memory, for tests. ``results`` maps keys to (value, expiry in ms); ``clock_ms`` is its clock."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.results: dict[bytes, tuple[bytes, int]] = {}
        self.positions: dict[int, bytes] = {}
        self.announced: list[tuple[str, list[bytes]]] = []
        self.away: StoreUnavailable | None = None
        self._clock_ms = clock_ms
        self._answers: deque[list[int]] = deque()

    def check(self) -> None:
        self._reach()

    def read(self, partitions: Sequence[int]) -> Standing:
        self._reach()
        return Standing([self.positions.get(partition, NOTHING) for partition in partitions], self._clock_ms())

    def send(self, changes: Sequence[Change], announce: Mapping[str, Sequence[bytes]]) -> None:
        self._reach()
        self._answers.append([self._apply(change) for change in changes])
        self.announced += [(client, list(ids)) for client, ids in announce.items()]

    def receive(self) -> list[int]:
        self._reach()
        return self._answers.popleft()

    def drop(self) -> None:
        self._answers.clear()

    def get(self, key: bytes) -> bytes | None:
        """The result under ``key``, if it is there and has not expired."""
        value, expiry = self.results.get(key, (None, 0))
        return value if expiry > self._clock_ms() else None

    def _reach(self) -> None:
        if self.away is not None:
            raise self.away

    def _apply(self, change: Change) -> int:
        if self.positions.get(change.partition, NOTHING) != change.expected:
            return MOVED
        written = 0
        expiries = [int(expiry) for length, expiry in change.expiries for _ in range(length)]
        for key, value, expiry in zip(change.keys, change.values, expiries, strict=True):
            if self.get(key) is None:
                self.results[key] = (value, expiry)
                written += 1
        for replacement in change.replacements:
            if replacement.generation > self._generation(replacement):
                self.results[replacement.key] = (replacement.value, int(replacement.expiry))
                written += 1
        self.positions[change.partition] = change.position
        return written

    def _generation(self, replacement: Replacement) -> int:
        match = _GENERATION.match(self.get(replacement.key) or b"")
        return int(match.group(1)) if match else -1
