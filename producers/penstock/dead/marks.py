"""Owns what is remembered of very many letters: a few bits each, in 11 to 22 bytes a letter whatever its name."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Final

SEEN: Final = 1
REDRIVEN: Final = 2
_BITS: Final = 3
_FIRST: Final = 1024
_FULLEST: Final = 0.75


class Marks:
    """Marks by name.

    Names are kept as 62-bit digests, so one of a million letters is mistaken for another once in ten million such runs; then
    it counts as marked, which means that it is left alone.

    An open-addressed table in one array: Python's own sets take sixty bytes and more for an entry.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST))
        self._mask = _FIRST - 1
        self._used = 0

    def __len__(self) -> int:
        """How many names have marks."""
        return self._used

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return len(self._slots) * self._slots.itemsize

    def of(self, name: str) -> int:
        """The marks of a name, 0 where it has none."""
        return self._slots[self._find(_digest(name))] & _BITS

    def put(self, name: str, mark: int) -> bool:
        """Mark a name; whether it did not have that mark before."""
        digest = _digest(name)
        at = self._find(digest)
        held = self._slots[at]
        if held & mark:
            return False
        self._slots[at] = (held or digest) | mark
        if not held:
            self._used += 1
            if self._used > _FULLEST * len(self._slots):
                self._grow()
        return True

    def _find(self, digest: int) -> int:
        """Where the digest is, or the free slot where it would be."""
        slots, mask = self._slots, self._mask
        at = (digest >> 2) & mask
        while (held := slots[at]) and held & ~_BITS != digest:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(16 * len(before)))
        self._mask = len(self._slots) - 1
        for held in before:
            if held:
                self._slots[self._find(held & ~_BITS)] = held


def _digest(name: str) -> int:
    """62 bits of the name in the upper bits of 64, never all zero: zero is a free slot."""
    found = int.from_bytes(blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "little")
    return (found & ~_BITS) or (_BITS + 1)
