"""Stepping over damage: all that is readable is read, what is not is told, and it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_worker.damage import StepOver


def read_through(bad: range, end: int, *, names_base: bool) -> tuple[list[int], list[tuple[int, int]]]:
    """Read offsets 0 to ``end`` of a log whose batch ``bad`` is damaged; what was taken, and which ranges were lost.

    ``names_base``: errors name the batch's first offset.
    """
    step, position = StepOver(), 0
    taken: list[int] = []
    lost: list[tuple[int, int]] = []
    reads = 0
    while position < end:
        reads += 1
        assert reads < 20 + 2 * end
        if position in bad:
            position = step.failed("p", bad[0] if names_base else position, end)
            continue
        target = step.read("p", position)
        if target is not None:
            position = target
            continue
        expected = taken[-1] + 1 if taken else 0
        if expected != position:
            assert step.lost("p", expected, position - 1)
            lost.append((expected, position - 1))
            assert not step
        taken.append(position)
        position += 1
    return taken, lost


@given(st.data(), st.booleans())
def test_nothing_that_can_be_read_is_lost(data: st.DataObject, names_base: bool) -> None:
    end = data.draw(st.integers(2, 400))
    first = data.draw(st.integers(0, end - 2))
    bad = range(first, data.draw(st.integers(first + 1, end - 1)))
    taken, lost = read_through(bad, end, names_base=names_base)
    assert taken == [offset for offset in range(end) if offset not in bad]
    assert lost == [(bad[0], bad[-1])]


@pytest.mark.parametrize("errors", [1, 2])
def test_an_error_that_passes_costs_nothing(errors: int) -> None:
    step = StepOver()
    for _ in range(errors):
        assert step.failed("p", 7, 100) == 7
    assert not step.lost("p", 3, 5), "a gap elsewhere is not damage"
    assert step.read("p", 7) is None
    assert not step
    assert step.passed("p", 7) is None


def test_a_batch_that_is_damaged_after_half_of_it_was_read_is_told() -> None:
    """The client names the batch, which begins before what is missing."""
    step = StepOver()
    assert [step.failed("p", 5, 40) for _ in range(4)] == [5, 5, 6, 8]
    assert [step.read("p", 8), step.failed("p", 5, 40), step.read("p", 8)] == [7, 8, None]
    assert step.lost("p", 7, 7)
    assert not step


def test_what_was_passed_over_is_told_once() -> None:
    step = StepOver()
    assert [step.failed("p", 5, 40) for _ in range(4)] == [5, 5, 6, 8]
    assert [step.read("p", 8), step.failed("p", 5, 40), step.read("p", 8)] == [7, 8, None]
    assert step.passed("p", 8) == (5, 7)
    assert step.passed("p", 9) is None


def test_damage_to_the_very_end_ends_there() -> None:
    step = StepOver()
    assert [step.failed("p", 5, 40) for _ in range(3)] == [5, 5, 6]
    target = 6
    while target != 40:
        target = step.failed("p", 5, 40)
        assert target <= 40


def test_who_was_led_astray_is_sent_back() -> None:
    step = StepOver()
    assert [step.sent("p"), step.failed("p", 5, 40), step.sent("p")] == [None, 5, 5]
    assert step.read("p", 0) == 5, "the client began again at the log's begin"
    assert [step.failed("p", 5, 40) for _ in range(2)] == [5, 6]
    assert (step.read("p", 4), step.sent("p")) == (6, 6)


def test_an_error_that_names_an_offset_beyond_the_log_leads_nowhere() -> None:
    step = StepOver()
    assert [step.failed("p", 5, 40) for _ in range(3)] == [5, 5, 6]
    assert [step.failed("p", 2**61, 40), step.failed("p", 2**61, 40)] == [8, 12]


def test_partitions_do_not_mix() -> None:
    step = StepOver()
    for _ in range(3):
        step.failed("p", 5, 40)
    assert step.read("q", 9) is None
    step.forget("p")
    assert not step
