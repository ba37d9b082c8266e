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
    assert read_metadata(write_metadata("alone", 0, 9)) == Left(1, 9, alone=True)
    for topic_id in ("8d8DRbvRT5aFggAFaCj/lQ", "vr+OdzakT9uz4HFK2lz1Cw", "x-y_z=="):
        assert read_metadata(write_metadata("open", 0, 9, topic_id)) == Left(1, 9, topic_id=topic_id)


@pytest.mark.parametrize("metadata", [None, "", "open", "open x 1", "somebody's own", "open -1 1", "open 1 2 3 4", "shut ٣ 1"])
def test_metadata_of_others_says_nothing(metadata: str | None) -> None:
    assert read_metadata(metadata) == Left()


def test_progress_resets_the_count() -> None:
    ledger = Ledger()
    ledger.assign(P, 10, takeovers=2)
    assert ledger.committable() == {P: Mark(10, 2, 10)}, "who comes next is to know that this one was here"
    entry = ledger.open(P, 10, 14, 5)
    assert ledger.committable() == {}
    assert ledger.marks([P]) == {P: Mark(10, 2, 15)}
    entry.settle(5)
    assert ledger.marks([P]) == {P: Mark(15, 0, 15)}


def test_what_is_run_alone_is_said_in_every_commit_until_it_is_settled() -> None:
    ledger = Ledger()
    ledger.assign(P, 10, takeovers=2)
    entry = ledger.open(P, 10, 10, 1)
    ledger.open(P, 11, 15, 5)
    assert [ledger.stands_at(P, offset) for offset in (9, 10, 11)] == [False, True, False]
    assert ledger.announce(P, 11) == Mark(10, 2, 11, alone=True)
    ledger.retract(P)
    assert ledger.committable() == {P: Mark(10, 2, 16)}, "the broker may have it all the same, so it is overwritten"
    ledger.announce(P, 11)
    assert ledger.committable() == {}
    ledger.recommit()
    assert ledger.committable() == {P: Mark(10, 2, 11, alone=True)}
    entry.settle()
    assert ledger.committable() == {P: Mark(11, 0, 16)}


def test_what_an_owner_was_told_it_says_itself_until_there_is_progress() -> None:
    ledger = Ledger()
    ledger.assign(P, 10, takeovers=1, alone_until=11)
    assert ledger.committable() == {P: Mark(10, 1, 11, alone=True)}
    ledger.announce(P, 12)
    ledger.retract(P)
    assert ledger.committable() == {P: Mark(10, 1, 11, alone=True)}


def test_a_start_that_could_not_be_asked_for_is_where_reading_began() -> None:
    ledger = Ledger()
    ledger.assign(P)
    ledger.open(P, 40, 40, 1)
    assert ledger.stands_at(P, 40)
    assert ledger.announce(P, 41) == Mark(40, 0, 41, alone=True)
    assert not ledger.stands_at(("f.jobs", 7), 40), "it is not here"
