"""Owns the limits that an untrusted record is held against before anything of it is parsed or allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one job. The defaults are those of the settings (a test holds them together)."""

    record_bytes: int = 4 * MIB
    """Largest record value."""
    header_bytes: int = 1 * MIB
    """Largest JSON in front of binary tensors."""
    rows: int = 65_536
    """Most rows: the first dimension of a tensor."""
    tensors: int = 64
    """Most inputs, and most requested outputs."""
    rank: int = 8
    """Most dimensions of a tensor."""
    elements: int = 16 * MIB
    """Most elements of a tensor."""
    string_bytes: int = 4 * MIB
    """Longest element of a BYTES tensor, in bytes."""
