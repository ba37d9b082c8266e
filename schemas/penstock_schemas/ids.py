"""Owns job ids: how they are made, what they may look like, and what a job without one is called."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from typing import Final

ID_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:~-"
MAX_ID_LENGTH: Final = 128
ID_REGEX: Final = r"(?!~)[A-Za-z0-9._:~-]{1,128}"
ID_RULE: Final = "1 to 128 characters of A-Z, a-z, 0-9 and . _ : ~ -, not beginning with ~"

_DERIVED: Final = re.compile(rb"~\d{1,10}-\d{1,19}-(-1|\d{1,19})")
_PATTERN: Final = re.compile(ID_REGEX)
_BYTES_PATTERN: Final = re.compile(ID_REGEX.encode())


def new_id() -> str:
    """Make a job id: 32 hex digits, 48 bits of time in ms (so ids sort by time) and 80 random bits (nobody guesses one)."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_valid_id(text: str) -> bool:
    """Whether ``text`` may be a caller's job id (ids that begin with ``~`` are derived, never given)."""
    return _PATTERN.fullmatch(text) is not None


def is_valid_id_bytes(raw: bytes) -> bool:
    """:func:`is_valid_id` for a record key or header value."""
    return _BYTES_PATTERN.fullmatch(raw) is not None


def is_derived_id_bytes(raw: bytes) -> bool:
    """Whether ``raw`` is what :func:`derived_id` makes: no caller's id, but the fleet's own for a job without one."""
    return _DERIVED.fullmatch(raw) is not None


def are_valid_ids(ids: Sequence[bytes]) -> bool:
    """Whether every one of ``ids`` is valid; one pass over all of them joined, as a regex each costs four times as much.

    A line feed on each side of every id makes the three faults visible in the joined bytes: a foreign character (line
    feeds in an id included) is left over when the allowed ones are deleted, an empty id is two line feeds in a row, and
    a leading ``~`` follows a line feed.
    """
    if not ids:
        return True
    joined = b"\n%b\n" % b"\n".join(ids)
    return (
        joined.translate(None, ID_CHARACTERS) == b"\n" * (len(ids) + 1)
        and b"\n\n" not in joined
        and b"\n~" not in joined
        and len(max(ids, key=len)) <= MAX_ID_LENGTH
    )


def derived_id(partition: int, offset: int, timestamp_ms: int) -> str:
    """The id of a job that has none, or none that is allowed: its place in Kafka. Equal whenever the same record is read."""
    return f"~{partition}-{offset}-{timestamp_ms}"
