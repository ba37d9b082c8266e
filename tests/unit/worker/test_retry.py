"""Who is tried again when an engine has died: suspects pay with an attempt, the others do not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.making import a_delivery

from penstock_worker.retry import MAX_ATTEMPTS, again


def at(*indices: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(indices, np.int32)


def test_suspects_are_tried_alone_and_pay_and_the_others_go_on_as_they_were() -> None:
    delivery = a_delivery([b""] * 5, sequence=7)
    delivery.answer(np.array([0]))
    retried, ended = again([delivery], {7: at(0, 2, 3)})
    assert ended == []
    assert [(part.offsets.tolist(), part.attempt, part.solo) for part in retried] == [([1, 4], 1, False), ([2, 3], 2, True)]


def test_a_suspect_that_had_all_its_attempts_is_ended() -> None:
    delivery = a_delivery([b""] * 3, sequence=7)
    delivery.attempt, delivery.solo = MAX_ATTEMPTS, True
    retried, ended = again([delivery], {7: at(1)})
    assert ended == [(delivery, [1])]
    assert [(part.offsets.tolist(), part.attempt, part.solo) for part in retried] == [([0, 2], MAX_ATTEMPTS, True)]


def test_deliveries_that_the_engine_was_not_running_pay_nothing() -> None:
    running, waiting = a_delivery([b""] * 2, sequence=7), a_delivery([b""] * 2, sequence=8)
    retried, _ = again([running, waiting], {7: at(0, 1)})
    assert [(part.offsets.tolist(), part.attempt) for part in retried] == [([0, 1], 2), ([0, 1], 1)]


def test_where_nothing_was_running_deliveries_come_back_in_halves_and_only_who_is_alone_pays() -> None:
    held, other = a_delivery([b""] * 4, sequence=7), a_delivery([b""], sequence=8)
    held.answer(np.array([1]))
    for suspects in ({}, {7: at(1)}, {99: at(0)}):
        retried, ended = again([held, other], suspects)
        tries = [(part.offsets.tolist(), part.attempt, part.solo) for part in retried]
        assert tries == [([0, 2], 1, False), ([3], 1, False), ([0], 2, True)]
        assert ended == []


def test_an_engine_that_held_nothing_costs_nothing() -> None:
    assert again([], {7: at(0)}) == ([], [])


@given(st.data())
def test_every_unanswered_job_is_tried_again_or_ended_once(data: st.DataObject) -> None:
    deliveries = []
    for sequence in range(data.draw(st.integers(0, 3))):
        count = data.draw(st.integers(1, 6))
        delivery = a_delivery([b""] * count, offsets=[sequence * 10 + i for i in range(count)], sequence=sequence)
        delivery.attempt = data.draw(st.integers(1, MAX_ATTEMPTS))
        answered = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
        delivery.answer(np.array(sorted(answered), np.int64))
        deliveries.append(delivery)
    suspects = {
        sequence: at(*data.draw(st.sets(st.integers(0, len(deliveries[sequence]) - 1))))
        for sequence in range(len(deliveries))
        if data.draw(st.booleans())
    }
    retried, ended = again(deliveries, suspects)
    told = [offset for part in retried for offset in part.offsets.tolist()]
    told += [int(delivery.offsets[index]) for delivery, indices in ended for index in indices]
    assert sorted(told) == sorted(int(d.offsets[i]) for d in deliveries for i in d.unanswered())
    assert all(part.attempt <= MAX_ATTEMPTS for part in retried)
    assert all(delivery.attempt == MAX_ATTEMPTS for delivery, _ in ended)
