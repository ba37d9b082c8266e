"""How many rows a call may have: fewer once there was no room, and more again, step by step, while there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_worker.engine.batch_limit import BatchLimit


def settle(limit: BatchLimit, room: int, begin: float, calls: int) -> tuple[list[int], float]:
    """So many full calls, one a second, on a device with room for ``room`` rows; the limits that stood, and the time."""
    stood: list[int] = []
    for second in range(calls):
        now = begin + second
        if limit.rows > room:
            limit.refused(limit.rows, now)
        else:
            limit.succeeded(limit.rows, now)
        if not stood or stood[-1] != limit.rows:
            stood.append(limit.rows)
    return stood, begin + calls


def test_it_is_halved_until_there_is_room() -> None:
    limit = BatchLimit(1000)
    for expected in (500, 250, 125):
        limit.refused(limit.rows, 0.0)
        assert limit.rows == expected
    limit.refused(900, 0.0)
    assert limit.rows == 125, "more than it is now says nothing new"


def test_it_rises_to_all_again_when_there_is_room_again() -> None:
    limit = BatchLimit(100)
    for _ in range(9):
        limit.refused(limit.rows, 0.0)
    assert limit.rows == 1
    stood, _ = settle(limit, 1000, 1.0, 200)
    assert stood == [1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94, 100]


def test_a_step_too_far_is_taken_back_and_tried_less_and_less_often() -> None:
    limit = BatchLimit(64)
    settle(limit, 20, 0.0, 2)
    assert limit.rows == 16
    stood, now = settle(limit, 20, 2.0, 100)
    assert set(stood) == {16, 24}, "it falls back to what had room, not to half of what had none"
    often = stood.count(24)
    again, _ = settle(limit, 20, now, 100)
    assert again.count(24) < often


@pytest.mark.parametrize(("rows", "calls", "seconds"), [(10, 50, 100), (25, 50, 1), (25, 4, 100)])
def test_few_small_or_early_successes_do_not_raise_it(rows: int, calls: int, seconds: int) -> None:
    limit = BatchLimit(50)
    limit.refused(50, 0.0)
    for call in range(calls):
        limit.succeeded(rows, seconds * (call + 1) / calls)
    assert limit.rows == 25


def test_only_allowed_sizes_are_limits() -> None:
    limit = BatchLimit(32, [2, 8, 32])
    limit.refused(32, 0.0)
    assert limit.rows == 8
    limit.refused(8, 0.0)
    limit.refused(2, 0.0)
    assert limit.rows == 2
    assert limit.below(2) == 2
    stood, _ = settle(limit, 8, 0.0, 30)
    assert set(stood) == {2, 8, 32}


@given(
    most=st.integers(1, 5000),
    room=st.integers(1, 5000),
    sizes=st.none() | st.lists(st.integers(1, 5000), min_size=1, unique=True).map(sorted),
)
def test_it_finds_room_where_there_is_any_and_stays_within_bounds(most: int, room: int, sizes: list[int] | None) -> None:
    limit = BatchLimit(most if sizes is None else sizes[-1], sizes)
    least = 1 if sizes is None else sizes[0]
    stood, _ = settle(limit, room, 0.0, 300)
    assert all(least <= rows <= (most if sizes is None else sizes[-1]) for rows in stood)
    assert sizes is None or set(stood) <= set(sizes)
    if room >= least:
        fit = [rows for rows in stood if rows <= room]
        assert fit
        assert max(fit) * 2 >= min(room, most) or sizes is not None
