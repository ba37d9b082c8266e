"""Who is to blame when an engine has died: one that was alone, and otherwise nobody, until one is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.making import a_delivery

from penstock_worker.engine.suspects import Verdict, judge
from penstock_worker.intake.delivery import Delivery, Isolation

NONE, ALONE, SOLO = Isolation


def at(*indices: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(indices, np.int32)


def delivery(*offsets: int, sequence: int = 7, isolation: Isolation = NONE) -> Delivery:
    made = a_delivery([b""] * len(offsets), offsets=list(offsets), sequence=sequence)
    made.isolation = isolation
    return made


def told(verdict: Verdict) -> list[tuple[list[int], Isolation]]:
    return [(part.offsets.tolist(), part.isolation) for part in verdict.again]


def test_several_that_ran_are_run_one_by_one_and_the_others_go_on_as_they_were() -> None:
    ran, waiting = delivery(0, 1, 2, 3, 4), delivery(5, 6, sequence=8)
    ran.answer(np.array([0]))
    verdict = judge([ran, waiting], [(7, at(0, 2)), (7, at(3))], None)
    assert verdict.guilty is None
    assert told(verdict) == [([2, 3], SOLO), ([1, 4], NONE), ([5, 6], NONE)]
    assert verdict.again[2] is waiting


def test_one_that_ran_alone_is_guilty() -> None:
    ran, waiting = delivery(0, 1, 2, isolation=SOLO), delivery(3, sequence=8)
    verdict = judge([ran, waiting], [(7, at(1))], None)
    assert verdict.guilty == (ran, 1)
    assert told(verdict) == [([0, 2], SOLO), ([3], NONE)]


def test_jobs_that_were_being_decoded_come_back_in_halves_with_an_engine_to_themselves() -> None:
    ran, decoded = delivery(0, 1), delivery(2, 3, 4, sequence=8)
    verdict = judge([ran, decoded], [(7, at(1))], 8)
    assert verdict.guilty is None, "either may have done it"
    assert told(verdict) == [([1], SOLO), ([0], NONE), ([2, 3], ALONE), ([4], ALONE)]
    assert told(judge([delivery(2, 3, isolation=SOLO)], [], 7)) == [([2], SOLO), ([3], SOLO)]


def test_a_job_that_was_decoded_alone_is_guilty_or_runs_alone_next() -> None:
    decoded = delivery(5)
    assert judge([decoded], [], 7).guilty == (decoded, 0)
    assert told(judge([delivery(5), delivery(6, sequence=8)], [(8, at(0))], 7)) == [([5], SOLO), ([6], SOLO)]


def test_where_nothing_was_run_or_decoded_nothing_changes() -> None:
    held = delivery(0, 1, isolation=ALONE)
    for running, decoding in (([], None), ([(99, at(0))], 98)):
        assert judge([held], running, decoding) == Verdict([held], None, 0)
    assert judge([], [(7, at(0))], 7) == Verdict([], None, 0)


@given(st.data())
def test_every_unanswered_job_goes_on_or_is_guilty_once(data: st.DataObject) -> None:
    deliveries = []
    for sequence in range(data.draw(st.integers(0, 3))):
        count = data.draw(st.integers(1, 6))
        made = delivery(
            *(sequence * 10 + i for i in range(count)), sequence=sequence, isolation=data.draw(st.sampled_from(Isolation))
        )
        made.answer(np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))), np.int64))
        deliveries.append(made)
    running = [
        (sequence, at(*data.draw(st.sets(st.integers(0, len(deliveries[sequence]) - 1)))))
        for sequence in data.draw(st.lists(st.integers(0, max(0, len(deliveries) - 1)), max_size=3))
        if deliveries
    ]
    decoding = data.draw(st.none() | st.integers(0, 3))
    before = sorted(int(d.offsets[i]) for d in deliveries for i in d.unanswered())
    suspects = {
        int(d.offsets[i])
        for d in deliveries
        for i in d.unanswered()
        if d.sequence == decoding or any(s == d.sequence and i in indices for s, indices in running)
    }
    verdict = judge(deliveries, running, decoding)
    after = [int(part.offsets[i]) for part in verdict.again for i in part.unanswered()]
    if verdict.guilty is not None:
        blamed, index = verdict.guilty
        assert suspects == {int(blamed.offsets[index])}, "nobody is guilty who was not alone"
        after.append(int(blamed.offsets[index]))
    else:
        assert len(suspects) != 1
        isolated = {int(o) for part in verdict.again if part.isolation > NONE for o in part.offsets}
        assert suspects <= isolated
    assert sorted(after) == before
    assert verdict.suspects == len(suspects)


@dataclass
class Life:
    """An engine that dies of some jobs while they run, and of others while they are decoded, and takes three deliveries."""

    fatal_to_run: set[int]
    fatal_to_decode: set[int]
    batch: int
    normal: list[Delivery]
    isolated: list[Delivery] = field(default_factory=list[Delivery])
    done: list[int] = field(default_factory=list[int])
    guilty: list[int] = field(default_factory=list[int])
    deaths: int = 0

    def live(self) -> None:
        while self.normal or self.isolated:
            taken = [self.isolated.pop(0)] if self.isolated else [self.normal.pop(0) for _ in range(min(3, len(self.normal)))]
            for sequence, one in enumerate(taken):
                one.sequence = sequence
            self._serve(taken)

    def _serve(self, taken: list[Delivery]) -> None:
        for position, one in enumerate(taken):
            if {int(one.offsets[i]) for i in one.unanswered()} & self.fatal_to_decode:
                # Those before it are decoded, and the model may be at the first of them.
                running = [(taken[0].sequence, self._batches(taken[0])[0])] if position else []
                return self._die(taken, running, one.sequence)
        for one in taken:
            for indices in self._batches(one):
                if set(one.offsets[indices].tolist()) & self.fatal_to_run:
                    return self._die([d for d in taken if d.left], [(one.sequence, indices)], None)
                self.done += one.offsets[one.answer(indices.astype(np.int64))].tolist()
        return None

    def _batches(self, one: Delivery) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
        size = 1 if one.isolation == SOLO else self.batch
        left = one.unanswered().astype(np.int32)
        return [left[begin : begin + size] for begin in range(0, len(left), size)]

    def _die(
        self,
        held: list[Delivery],
        running: list[tuple[int, np.ndarray[tuple[int], np.dtype[np.int32]]]],
        decoding: int | None,
    ) -> None:
        self.deaths += 1
        verdict = judge(held, running, decoding)
        for part in reversed(verdict.again):
            (self.isolated if part.isolation > NONE else self.normal).insert(0, part)
        if verdict.guilty is not None:
            self.guilty.append(int(verdict.guilty[0].offsets[verdict.guilty[1]]))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sets(st.integers(0, 44), max_size=5),
    st.sets(st.integers(0, 44), max_size=5),
    st.integers(1, 16),
)
def test_exactly_the_guilty_are_found_and_that_comes_to_an_end(
    sizes: list[int], run: set[int], decode: set[int], batch: int
) -> None:
    starts = np.cumsum([0, *sizes]).tolist()
    deliveries = [delivery(*range(begin, begin + size)) for begin, size in zip(starts, sizes, strict=False)]
    life = Life(run, decode, batch, deliveries)
    life.live()
    everyone = set(range(sum(sizes)))
    assert sorted(life.guilty) == sorted((run | decode) & everyone)
    assert sorted(life.done) == sorted(everyone - run - decode)
    assert life.deaths <= 8 * (len(life.guilty) + 1), "each death leaves fewer suspects"
