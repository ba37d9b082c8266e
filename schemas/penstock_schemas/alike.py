"""Owns finding, in a delivery's bytes, the records that are equal in length and in their whole first line.

Callers who send like jobs send the same line again and again. Found by comparing columns of bytes, a line costs one
parse for all its records; a dictionary lookup a record costs several times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST: Final = 8
"""Below this many records, looking at each is cheaper than numpy's overhead."""
_MOST_LINES: Final = 8
"""So many different lines are looked for among records of one length, before the rest is left to be looked at singly."""
_FIRST_LOOK: Final = 4096

Indices = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Alike:
    """Records that share length and first line; ``rows`` is (n, length), a view where they lie side by side."""

    line: bytes
    indices: Indices
    rows: Bytes


def find_alike(data: Bytes, starts: Indices, lengths: Indices, indices: Indices, longest: int) -> tuple[list[Alike], list[int]]:
    """Split ``indices`` into groups of like records and the others. Lines above ``longest`` bytes are not looked for."""
    groups: list[Alike] = []
    others: list[int] = []
    for same in _by_length(lengths, indices):
        rest = same
        for _ in range(_MOST_LINES):
            if len(rest) < FEWEST:
                break
            line = first_line(data, int(starts[rest[0]]), int(lengths[rest[0]]), longest)
            if line is None:
                break
            rows = _rows(data, starts[rest], int(lengths[rest[0]]))
            equal = rows[:, : len(line)] == np.frombuffer(line, np.uint8)
            if equal.all():
                groups.append(Alike(line, rest, rows))
                rest = rest[:0]
                break
            matching = equal.all(axis=1)
            if np.count_nonzero(matching) < FEWEST:
                break
            groups.append(Alike(line, rest[matching], rows[matching]))
            rest = rest[~matching]
        others.extend(rest.tolist())
    return groups, others


def first_line(data: Bytes, start: int, length: int, longest: int) -> bytes | None:
    """The first line, its line feed included, if it ends within ``longest`` bytes and more follows it; else None."""
    for look in (_FIRST_LOOK, longest + 1):
        look = min(look, length, longest + 1)
        head = data[start : start + look].tobytes()
        at = head.find(b"\n")
        if at >= 0:
            return head[: at + 1] if at + 1 < length else None
        if look in (length, longest + 1):
            break
    return None


def _by_length(lengths: Indices, indices: Indices) -> list[Indices]:
    chosen = lengths[indices]
    if not len(chosen) or chosen.min() == chosen.max():
        return [indices]
    order = np.argsort(chosen, kind="stable")
    ordered = chosen[order]
    borders = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.split(indices[order], borders)


def _rows(data: Bytes, starts: Indices, length: int) -> Bytes:
    """(n, length): a view of ``data`` where the records lie side by side, else gathered into a copy."""
    count = len(starts)
    first = int(starts[0])
    if int(starts[-1]) - first == (count - 1) * length and (count < 3 or bool((np.diff(starts) == length).all())):
        return data[first : first + count * length].reshape(count, length)
    # Every window of `length` bytes, as a view: indexing that copies whole rows; an index a byte would take eight times
    # the memory.
    windows = np.lib.stride_tricks.sliding_window_view(data, length)
    return windows[starts]
