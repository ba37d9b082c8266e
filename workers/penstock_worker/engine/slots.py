"""Owns the shared memory between a worker's parent and its engine: equal slots in one anonymous file.

The file is a memfd where the system has them: it is not bounded by /dev/shm, has no name to leak, and goes with its last
holder. Pages that were never written take no memory, so a slot may be far larger than what usually travels in it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

_ALIGN: Final = 64


class Slots:
    """``count`` slots of ``size`` bytes each. Both sides map the same file by its descriptor."""

    def __init__(self, fd: int, count: int, size: int) -> None:
        self.fd = fd
        self.count = count
        self.size = size
        self._map = mmap.mmap(fd, count * size)
        self._view = memoryview(self._map)

    @classmethod
    def create(cls, name: str, count: int, size: int) -> Slots:
        """Make a new file for ``count`` slots of at least ``size`` bytes. Raises OSError where there is no room."""
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        fd = _anonymous_file(name)
        os.ftruncate(fd, count * size)
        return cls(fd, count, size)

    def view(self, slot: int) -> memoryview:
        """The bytes of ``slot``, writable."""
        return self._view[slot * self.size : (slot + 1) * self.size]

    def close(self) -> None:
        """Unmap and close. Views that are still held keep the mapping alive until they go."""
        self._view.release()
        try:
            self._map.close()
        except BufferError:  # a view is still held somewhere; the mapping goes with it
            pass
        os.close(self.fd)


def aligned(position: int) -> int:
    """The next multiple of 64 at or after ``position``: where an array may begin."""
    return -(-position // _ALIGN) * _ALIGN


def _anonymous_file(name: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
