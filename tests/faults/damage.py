"""Owns harm to a stopped broker's files: where batches lie in a segment of its log, and how one is made unreadable."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct(">qi")
"""Kafka's record batch begins with its base offset and the length of what follows these twelve bytes."""
_LAST: Final = 23
"""Where a batch says how many offsets after its first one its last one is."""
_RECORDS: Final = 61
"""Where its records begin; its checksum, at 17, is of all from 21 on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One record batch: where it lies in its file, and its first and last offset."""

    file: Path
    at: int
    size: int
    first: int
    last: int


def batches(folder: Path) -> list[Batch]:
    """The batches of one partition, whose folder this is, in order."""
    return [batch for file in sorted(folder.glob("*.log")) for batch in _of(file)]


def spoil(batch: Batch) -> None:
    """Change some bytes of its records, so that its checksum is wrong."""
    with batch.file.open("r+b") as file:
        file.seek(batch.at + _RECORDS + (batch.size - _RECORDS) // 2)
        place = file.tell()
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0xFF]))


def _of(file: Path) -> Iterator[Batch]:
    content = file.read_bytes()
    at = 0
    while at + _RECORDS <= len(content):
        first, length = _HEAD.unpack_from(content, at)
        if length <= 0:  # the rest was laid out in advance
            return
        (more,) = struct.unpack_from(">i", content, at + _LAST)
        yield Batch(file, at, _HEAD.size + length, first, first + more)
        at += _HEAD.size + length
