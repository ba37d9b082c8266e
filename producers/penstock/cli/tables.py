"""Owns tables of one line a row: as wide as they like where nobody looks, and fitted to the terminal where somebody does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from penstock.cli.common import printable

_LOOKED_AT: Final = 100
"""How many rows say how wide the columns of a fitted table are."""
_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """One column, ``width`` characters wide where nothing is fitted (0: as wide as its cell)."""

    head: str
    width: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One way to make room where the last column has less than ``least``: leave a column out, or a part of its cells."""

    head: str
    part: slice | None = None
    least: int = 24


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, the last of which takes what room is left; ``steps``, in turn, are what is done to give it some."""

    columns: Sequence[Column]
    steps: Sequence[Step] = ()

    def lines(self, rows: Iterable[Sequence[str]], width: int | None) -> Iterator[str]:
        """The head and a line for each row, none longer than ``width`` (None: as long as they are); nothing of no rows."""
        coming = iter(rows)
        first = list(islice(coming, _LOOKED_AT))
        if not first:
            return
        head = [column.head for column in self.columns]
        widths = [column.width for column in self.columns]
        parts: list[slice | None] = [slice(None)] * len(widths)
        if width is not None:
            widths = [max(map(len, cells)) for cells in zip(head, *first, strict=True)]
            parts = self._fit(widths, width)
        shown = [None if part is None else slice(None) for part in parts]
        lines = (self._line(row, widths, parts) for row in chain(first, coming))
        for line in map(printable, chain([self._line(head, widths, shown)], lines)):
            yield line if width is None or len(line) <= width else line[: max(0, width - 1)] + "…"

    def _fit(self, widths: list[int], width: int) -> list[slice | None]:
        """Which part of each column is shown, None: it is left out; ``widths`` become those of the parts."""
        parts: list[slice | None] = [slice(None)] * len(widths)
        names = [column.head for column in self.columns]
        for step in self.steps:
            shown = [size for size, part in zip(widths[:-1], parts, strict=False) if part is not None]
            if sum(shown) + len(_GAP) * len(shown) + min(widths[-1], step.least) <= width:
                continue
            at = names.index(step.head)
            parts[at] = step.part
            if step.part is not None:
                widths[at] = max(len(step.head), len(("x" * widths[at])[step.part]))
        return parts

    def _line(self, row: Sequence[str], widths: Sequence[int], parts: Sequence[slice | None]) -> str:
        cells: list[str] = []
        for column, cell, width, part in zip(self.columns, row, widths, parts, strict=True):
            if part is not None:
                cells.append(cell[part].rjust(width) if column.right else cell[part].ljust(width))
        return _GAP.join(cells).rstrip()


def terminal_width() -> int | None:
    """How many columns there are for our lines; None where nobody said so: they go to a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None
