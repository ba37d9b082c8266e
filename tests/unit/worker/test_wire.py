"""What crosses between parent and engine arrives as it was: deliveries, answers, tokens; and the slots they travel in."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.worker.making import a_delivery

from penstock_worker.engine import wire
from penstock_worker.engine.slots import Slots, aligned
from penstock_worker.engine.wire import Answer, Failure, Kind, Running, Stats
from penstock_worker.intake.delivery import Isolation

small = st.none() | st.binary(max_size=20)
names = st.text(st.characters(codec="utf-8"), max_size=40)
records = st.tuples(
    small,  # key
    st.one_of(small, st.integers(0, 9000).map(lambda size: b"\xff" * size)),  # value
    st.lists(st.tuples(names, small), max_size=4),  # headers; names repeat and values are None
    st.integers(-1, 2**62),  # timestamp
    st.integers(0, 2**31 - 1),  # partition
    st.integers(0, 2**62),  # offset
)
WIDE = [("中" * 1600 + end, None) for end in "abc"]
"""Headers whose names take three bytes a character."""


@given(
    st.lists(records, max_size=12), st.frozensets(names, max_size=3), st.integers(-(2**40), 2**40), st.sampled_from(Isolation)
)
@example([(None, None, [*WIDE, ("a", b""), ("a", None)], -1, 0, 0)], frozenset(), 0, Isolation.NONE)
@example(
    [(b"k", b"x" * 5000, [], 0, 0, 0), (None, None, [], 0, 0, 1)],
    frozenset("中" * 128 + end for end in "abc"),
    7,
    Isolation.SOLO,
)
def test_a_delivery_arrives_as_it_was_in_a_slot_of_the_size_it_asks_for(
    made: list[Any], blocked: frozenset[str], ahead_ms: int, isolation: Isolation
) -> None:
    keys, values, headers, times, partitions, offsets = [[record[i] for record in made] for i in range(6)]
    delivery = a_delivery(
        values,
        keys=keys,
        partitions=partitions,
        offsets=offsets,
        times_ms=times,
        headers={i: own for i, own in enumerate(headers) if own},
    )
    delivery.isolation = isolation
    notice = wire.Notice(blocked, ahead_ms)
    slot = memoryview(bytearray(wire.delivery_size(delivery, notice)))
    wire.write_delivery(delivery, slot, notice)
    assert not wire.has_begun(slot)
    arrived = wire.read_delivery(slot)
    assert wire.has_begun(slot)
    assert (arrived.topic, arrived.notice, arrived.keys) == ("f.jobs", notice, keys)
    assert arrived.solo is (isolation is Isolation.SOLO)
    columns = arrived.records
    starts = [0, *columns.ends.tolist()][: len(made)]
    there = [
        None if i in columns.nulls else bytes(columns.buffer[start:end])
        for i, (start, end) in enumerate(zip(starts, columns.ends.tolist(), strict=True))
    ]
    assert there == values
    assert dict(columns.headers) == {i: own for i, own in enumerate(headers) if own}
    assert columns.timestamps_ms.tolist() == times
    assert columns.partitions.tolist() == partitions
    assert columns.offsets.tolist() == offsets


def test_number_columns_outlive_the_slot() -> None:
    delivery = a_delivery([b"abc"], offsets=[5])
    slot = memoryview(bytearray(wire.delivery_size(delivery)))
    wire.write_delivery(delivery, slot)
    arrived = wire.read_delivery(slot)
    slot[:] = bytes(len(slot))
    assert (arrived.records.offsets.tolist(), arrived.records.ends.tolist()) == ([5], [3])


texts = st.text(st.characters(codec="utf-8"), max_size=30)
answers = st.builds(
    lambda sequence, rows, keyed, failures: Answer(
        sequence,
        np.arange(len(rows), dtype=np.int32).tobytes(),
        [b"k" * i for i in range(len(rows))] if keyed else None,
        rows,
        {index: failure for index, failure in failures.items() if index < len(rows)},
    ),
    st.integers(0, 2**40),
    st.lists(st.binary(max_size=50), min_size=1, max_size=5),
    st.booleans(),
    st.dictionaries(
        st.integers(0, 4),
        st.builds(
            Failure, texts, texts, texts, st.none() | texts, st.none() | texts, st.integers(0, 9), st.none() | st.integers(0, 9)
        ),
    ),
)
figures = Stats("m", "1", 3, 1, 2, 3, np.arange(3).tobytes(), np.arange(3).tobytes())


@given(st.lists(answers, max_size=4), st.none() | st.just(figures))
def test_answers_arrive_as_they_were_in_a_slot_of_the_size_they_ask_for(said: list[Answer], stats: Stats | None) -> None:
    slot = memoryview(bytearray(sum(map(wire.answers_size, said)) + 512))
    wire.write_answers(said, stats, slot)
    assert wire.read_answers(slot) == (said, stats)


def test_answers_that_do_not_fit_are_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match="different structures"):
        wire.write_answers([Answer(1, b"", None, [b"x" * 100], {})], None, memoryview(bytearray(64)))


def test_tokens_and_suspects_arrive_as_they_were() -> None:
    assert wire.read_token(wire.token(Kind.WAITING, 1, -2, "grün".encode())) == (Kind.WAITING, 1, -2, "grün".encode())
    told = Running("m", "1", [(3, np.array([1, 2], np.int32)), (4, np.array([], np.int32)), (3, np.array([0], np.int32))])
    model, version, suspects = wire.unpack_running(wire.pack_running(told))
    assert (model, version) == ("m", "1")
    assert [(sequence, indices.tolist()) for sequence, indices in suspects] == [(3, [1, 2]), (4, []), (3, [0])]


def test_both_sides_of_a_slot_see_the_same_bytes() -> None:
    ours = Slots.create("test", 3, 100)
    theirs = Slots(os.dup(ours.fd), ours.count, ours.size)
    assert ours.size == mmap.PAGESIZE
    ours.view(1)[:5] = b"hello"
    assert bytes(theirs.view(1)[:5]) == b"hello"
    assert not any(theirs.view(0))
    assert not any(theirs.view(2))
    assert len(ours.view(2)) == ours.size
    held = ours.view(0)
    ours.close()  # though a view is held
    held[:1] = b"x"
    theirs.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ours.fd)


@given(st.integers(0, 10_000))
def test_aligned_positions_are_the_next_multiples_of_64(position: int) -> None:
    assert aligned(position) % 64 == 0
    assert 0 <= aligned(position) - position < 64
