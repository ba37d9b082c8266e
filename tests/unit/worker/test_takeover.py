"""What a commit says of its owner: only who ended without a word is counted, and progress resets the count."""

from __future__ import annotations

import pytest

from penstock_worker.intake.ledger import Ledger, Mark
from penstock_worker.intake.takeover import Left, read_metadata, write_metadata

P = ("f.jobs", 0)


def test_an_owner_that_died_is_counted_and_one_that_let_go_is_not() -> None:
    assert read_metadata(write_metadata("open", 0, 9)) == Left(1, 9)
    assert read_metadata(write_metadata("open", 1, 9)) == Left(2, 9)
    assert read_metadata(write_metadata("shut", 0, 9)) == Left(0, 9)
    assert read_metadata(write_metadata("shut", 2, 9)) == Left(2, 9), "letting go is no progress"
    assert read_metadata(write_metadata("alone", 0, 9)) == Left(1, 9, killer=True)


@pytest.mark.parametrize("metadata", [None, "", "open", "open x 1", "somebody's own", "open -1 1", "open 1 2 3", "shut ٣ 1"])
def test_metadata_of_others_says_nothing(metadata: str | None) -> None:
    assert read_metadata(metadata) == Left()


def test_progress_resets_the_count() -> None:
    ledger = Ledger()
    ledger.assign(P, 10, takeovers=2)
    assert ledger.committable() == {P: Mark(10, 2, 10)}, "who comes next is to know that this one was here"
    entry = ledger.open(P, 14, 5)
    assert ledger.committable() == {}
    assert ledger.marks([P]) == {P: Mark(10, 2, 15)}
    entry.settle(5)
    assert ledger.marks([P]) == {P: Mark(15, 0, 15)}
