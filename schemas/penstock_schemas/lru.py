"""Owns a small cache of parsed bytes: bounded in entries and in bytes, the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class BytesCache(Generic[V]):
    """Values by bytes keys. Keys above ``longest`` are not kept, so that a few giants cannot push all others out."""

    def __init__(self, *, entries: int, total: int, longest: int) -> None:
        self._kept: OrderedDict[bytes, V] = OrderedDict()
        self._entries = entries
        self._total = total
        self._longest = longest
        self._bytes = 0

    def get(self, key: bytes) -> V | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, value: V) -> None:
        if len(key) > self._longest or key in self._kept:
            return
        self._kept[key] = value
        self._bytes += len(key)
        while len(self._kept) > self._entries or self._bytes > self._total:
            oldest, _ = self._kept.popitem(last=False)
            self._bytes -= len(oldest)

    def __len__(self) -> int:
        return len(self._kept)
