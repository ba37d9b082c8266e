"""Tables are whole where nobody looks, and lose what matters least where a terminal is too narrow for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.cli.dead_reading import _LETTERS
from penstock.cli.tables import Column, Step, Table, terminal_width

ROW = (
    "2026-11-21T15:31:55Z",
    "unknown_version",
    "digits",
    "scan-2",
    "penstock.jobs-4-0/0/1",
    "model 'digits' is not served in version '9'",
)
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def head(width: int | None, row: tuple[str, ...] = ROW) -> list[str]:
    return next(_LETTERS.lines([row], width)).split()


def test_where_nobody_looks_columns_have_their_own_widths_and_nothing_is_cut() -> None:
    lines = list(_LETTERS.lines([ROW, (*ROW[:5], "x" * 500)], None))
    assert lines[0].split() == ["TIME", "CODE", "MODEL", "ID", "IDENTITY", "ERROR"]
    assert lines[1].index("penstock.jobs") == 20 + 17 + 12 + 32 + 4 * 2
    assert lines[2].endswith("x" * 500)


@pytest.mark.parametrize(
    ("width", "row", "shown"),
    [
        (200, ROW, ["TIME", "CODE", "MODEL", "ID", "IDENTITY", "ERROR"]),
        (120, ROW, ["TIME", "CODE", "MODEL", "ID", "ERROR"]),
        (82, ROW, ["TIME", "CODE", "MODEL", "ID", "ERROR"]),
        (70, ROW, ["TIME", "CODE", "MODEL", "ID", "ERROR"]),
        (80, (*ROW[:3], UUID, *ROW[4:]), ["CODE", "ID", "ERROR"]),
        (30, ROW, ["CODE", "ID"]),
    ],
)
def test_what_matters_least_goes_first(width: int, row: tuple[str, ...], shown: list[str]) -> None:
    assert [name.rstrip("…") for name in head(width, row)][: len(shown)] == shown
    assert all(len(line) <= width for line in _LETTERS.lines([row] * 3, width))


def test_a_time_is_shortened_before_it_goes() -> None:
    assert list(_LETTERS.lines([ROW], 100))[1].startswith("2026-11-21T15:31:55Z  unknown_version")
    assert list(_LETTERS.lines([ROW], 70))[1].startswith("11-21T15:31  unknown_version  digits  scan-2  model")


def test_what_is_cut_says_so_and_does_nothing_to_a_terminal() -> None:
    table = Table([Column("N", 4, right=True), Column("TEXT")], [Step("N", least=10)])
    lines = list(table.lines([("1", "short"), ("20", "\x1b[2J" + "y" * 40)], 20))
    assert lines == [" N  TEXT", " 1  short", "20   [2Jyyyyyyyyyyy…"]
    assert list(table.lines([], 20)) == []


def test_rows_after_those_that_set_the_widths_come_as_they_are_read() -> None:
    read: list[int] = []

    def rows() -> Iterator[tuple[str, str]]:
        for number in range(1000):
            read.append(number)
            yield str(number), "x" * number

    lines = Table([Column("N"), Column("TEXT")]).lines(rows(), 80)
    assert next(lines) == "N   TEXT"
    assert len(read) == 100
    assert len(list(lines)) == 1000


def test_the_width_is_the_terminals_or_what_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width() is None
    monkeypatch.setenv("COLUMNS", "73")
    assert terminal_width() == 73
