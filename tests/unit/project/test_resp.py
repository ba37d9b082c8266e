"""Packed commands are what the client library makes of them."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from penstock_worker.project.resp import _MAX_HEADS, CommandPacker

PACK: Any = hiredis.pack_command  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - it has no types


@pytest.mark.parametrize("arguments", [[b"PING"], [b"SET", b"", b"a\r\n$5\r\n"], [b"x" * length for length in range(300)]])
def test_as_the_library_packs_them(arguments: list[bytes]) -> None:
    assert CommandPacker().pack(arguments) == PACK(tuple(arguments))


def test_what_is_remembered_is_bounded() -> None:
    packer = CommandPacker()
    for length in range(_MAX_HEADS + 100):
        packer.pack([b"x" * length])
    assert len(packer._heads) <= _MAX_HEADS + 1
