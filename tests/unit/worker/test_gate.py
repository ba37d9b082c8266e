"""The gate: a retry partition waits until its head is due by the broker's clock; and how a worker knows that clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.making import Message

from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.gate import Gate, Hold

TEN, MINUTE = "f.retry.10s", "f.retry.1m"
P0, P1, M0 = (TEN, 0), (TEN, 1), (MINUTE, 0)


def record(partition: tuple[str, int], offset: int, time_ms: int) -> Message:
    return Message(topic_=partition[0], partition_=partition[1], offset_=offset, time_ms=time_ms)


def test_what_is_due_passes_and_its_partition_waits_from_there_on() -> None:
    gate = Gate({TEN: 10.0, MINUTE: 60.0})
    records = [record(P0, 5, 0), record(M0, 1, 0), record(P0, 6, 1000), record(P0, 7, 9000), record(P1, 3, 0)]
    due, holds = gate.sift(records, now_ms=11_000)
    assert due == [records[0], records[2], records[4]]
    assert sorted(holds) == [Hold(P0, 7), Hold(M0, 1)]
    assert gate.holding
    assert gate.ripe(18_999) == []
    assert gate.ripe(19_000) == [P0]
    assert gate.ripe(60_000) == [M0]
    assert not gate.holding


def test_no_partition_is_looked_at_again_at_once() -> None:
    gate = Gate({TEN: 10.0})
    gate.sift([record(P0, 5, 1)], now_ms=10_000)
    assert gate.ripe(10_900) == []
    assert gate.ripe(11_000) == [P0]


def test_without_the_brokers_time_nothing_is_due() -> None:
    gate = Gate({TEN: 10.0})
    due, holds = gate.sift([record(P0, 5, 0), record(P0, 6, 0)], now_ms=None)
    assert (due, holds) == ([], [Hold(P0, 5)])
    assert gate.ripe(0.0) == [P0], "once it is known, the head is looked at again"


def test_a_partition_that_goes_is_forgotten() -> None:
    gate = Gate({TEN: 10.0})
    gate.sift([record(P0, 5, 0)], now_ms=1)
    gate.forget(P0)
    assert not gate.holding


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30_000)), max_size=30), st.integers(0, 40_000))
def test_none_is_early_and_none_is_skipped(stamps: list[tuple[int, int]], now_ms: int) -> None:
    gate = Gate({TEN: 10.0})
    records = [record((TEN, partition), offset, time_ms) for offset, (partition, time_ms) in enumerate(stamps)]
    due, holds = gate.sift(records, now_ms)
    assert all(message.time_ms + 10_000 <= now_ms for message in due)
    first = {hold.partition[1]: hold.offset for hold in holds}
    for message in records:
        assert (message in due) == (message.offset_ < first.get(message.partition_, 10**9))


def test_this_hosts_clock_decides_nothing() -> None:
    steady, wall = [50.0], [1_000_000.0]
    clock = BrokerClock(lambda: steady[0], lambda: wall[0])
    assert clock.must_ask
    assert not clock.known
    clock.asking()
    assert not clock.must_ask
    clock.told(700_000)
    assert clock.known
    steady[0] += 5
    wall[0] -= 100_000  # somebody sets it
    assert clock.now_ms() == 705_000
    assert not clock.must_ask
    steady[0] += 600
    assert clock.must_ask


def test_a_broker_that_gives_no_time_is_asked_again_but_not_all_the_time() -> None:
    steady = [0.0]
    clock = BrokerClock(lambda: steady[0], lambda: steady[0] + 7)
    for answer in (None, -1):
        assert clock.must_ask
        clock.asking()
        clock.told(answer)
        assert not clock.must_ask
        assert not clock.known
        steady[0] += 10
    assert clock.now_ms() == 27_000
    assert clock.ahead_ms() == 0
