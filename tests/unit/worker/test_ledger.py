"""The ledger commits the contiguous settled prefix of each partition, whatever order confirmations come in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from penstock_worker.intake.ledger import Entry, Ledger

A, B = ("jobs", 0), ("jobs", 1)


def offsets(ledger: Ledger) -> dict[tuple[str, int], int]:
    return {partition: mark.offset for partition, mark in ledger.committable().items()}


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.assign(A)
    ledger.assign(B)
    return ledger


def test_nothing_is_committable_before_something_is_settled(ledger: Ledger) -> None:
    ledger.open(A, 0, 9, 10)
    assert offsets(ledger) == {}
    assert ledger.positions() == {A: 0}
    assert ledger.unsettled() == 10


def test_a_run_is_committed_when_its_last_record_is_settled(ledger: Ledger) -> None:
    entry = ledger.open(A, 7, 9, 3)
    entry.settle(2)
    assert offsets(ledger) == {}
    entry.settle()
    assert offsets(ledger) == {A: 10}
    assert offsets(ledger) == {}, "a position is handed out once"


def test_a_settled_run_waits_for_the_one_before_it(ledger: Ledger) -> None:
    first, second = ledger.open(A, 0, 4, 5), ledger.open(A, 5, 9, 5)
    second.settle(5)
    assert offsets(ledger) == {}
    first.settle(5)
    assert offsets(ledger) == {A: 10}


def test_partitions_do_not_wait_for_each_other(ledger: Ledger) -> None:
    ledger.open(A, 0, 4, 5)
    ledger.open(B, 0, 2, 3).settle(3)
    assert offsets(ledger) == {B: 3}
    assert ledger.unsettled({A}) == 5
    assert ledger.unsettled({B}) == 0


def test_after_a_failed_commit_every_position_is_handed_out_again(ledger: Ledger) -> None:
    ledger.open(A, 0, 4, 5).settle(5)
    ledger.committable()
    ledger.recommit()
    assert offsets(ledger) == {A: 5}


def test_nothing_of_a_revoked_partition_is_ever_committed(ledger: Ledger) -> None:
    late = ledger.open(A, 0, 4, 5)
    ledger.revoke(A)
    late.settle(5)
    assert offsets(ledger) == {}
    assert ledger.assigned() == [B]
    ledger.open(A, 5, 9, 5).settle(5)
    assert offsets(ledger) == {}, "nor of one that was never assigned"


def test_an_entry_of_an_earlier_epoch_does_not_count_in_the_next(ledger: Ledger) -> None:
    late = ledger.open(A, 95, 99, 5)
    ledger.revoke(A)
    ledger.assign(A)
    again = ledger.open(A, 0, 4, 5)
    late.settle(5)
    assert offsets(ledger) == {}
    again.settle(5)
    assert offsets(ledger) == {A: 5}


def test_missing_offsets_are_seen_between_runs_only(ledger: Ledger) -> None:
    assert ledger.skipped(A, 100) is None, "the first run of an epoch may begin anywhere"
    ledger.open(A, 100, 104, 5)
    assert ledger.skipped(A, 105) is None
    assert ledger.skipped(A, 108) == (105, 107)
    assert ledger.skipped(B, 108) is None
    assert ledger.skipped(("jobs", 7), 108) is None


def test_what_holds_no_record_is_passed_over_once_nothing_is_under_way(ledger: Ledger) -> None:
    entry = ledger.open(A, 0, 4, 5)
    ledger.pass_over(A, 6)
    assert offsets(ledger) == {}
    entry.settle(5)
    ledger.pass_over(A, 6)
    assert offsets(ledger) == {A: 5}, "not before it is known to be settled"
    assert ledger.idle() == [A, B]
    ledger.pass_over(A, 6)
    assert offsets(ledger) == {A: 6}
    ledger.pass_over(A, 5)
    assert offsets(ledger) == {}
    assert ledger.skipped(A, 6) is None


class Machine(RuleBasedStateMachine):
    """The ledger against a list of single offsets: what is committed is the longest settled prefix, no more and no less."""

    entries: Bundle[Any] = Bundle("entries")
    partitions = st.sampled_from([A, B])

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.next = {A: 0, B: 0}
        self.open: dict[Any, list[tuple[int, int]]] = {}  # assigned partition -> its records: (offset, entry's number)
        self.left: dict[int, int] = {}
        self.committed: dict[Any, int] = {}

    @rule(partition=partitions)
    def assign(self, partition: tuple[str, int]) -> None:
        self.ledger.assign(partition)
        self.open[partition] = []
        self.committed.pop(partition, None)

    @rule(partition=partitions)
    def revoke(self, partition: tuple[str, int]) -> None:
        self.ledger.revoke(partition)
        self.open.pop(partition, None)
        self.committed.pop(partition, None)

    @rule(target=entries, partition=partitions, records=st.integers(1, 5), hole=st.integers(0, 3))
    def take(self, partition: tuple[str, int], records: int, hole: int) -> Any:
        first = self.next[partition] + hole
        expected = (first - hole, first - 1) if hole and self.open.get(partition) else None
        if self.open.get(partition):
            assert self.ledger.skipped(partition, first) == expected
        self.next[partition] = first + records
        entry = self.ledger.open(partition, first, first + records - 1, records)
        number = len(self.left)
        self.left[number] = records
        if partition in self.open:
            self.open[partition] += [(first + i, number) for i in range(records)]
        return multiple(*[(entry, number)] * records)

    @rule(one=consumes(entries))
    def settle(self, one: tuple[Entry, int]) -> None:
        one[0].settle()
        self.left[one[1]] -= 1

    @rule()
    def commit(self) -> None:
        self.committed.update(offsets(self.ledger))
        for partition, records in self.open.items():
            settled = [offset for offset, _ in _prefix(records, self.left)]
            if settled:
                assert self.committed[partition] == settled[-1] + 1, "what can be committed is"

    @invariant()
    def no_committed_offset_passes_an_unsettled_record(self) -> None:
        for partition, position in self.committed.items():
            unsettled = [offset for offset, number in self.open[partition] if self.left[number]]
            assert all(offset >= position for offset in unsettled)

    @invariant()
    def what_is_unsettled_is_counted(self) -> None:
        numbers = {number for records in self.open.values() for _, number in records}
        assert self.ledger.unsettled() == sum(self.left[number] for number in numbers)
        assert sorted(self.ledger.assigned()) == sorted(self.open)


def _prefix(records: list[tuple[int, int]], left: dict[int, int]) -> list[tuple[int, int]]:
    for place, (_, number) in enumerate(records):
        if left[number]:
            return records[:place]
    return records


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLedgerAgainstModel = Machine.TestCase
