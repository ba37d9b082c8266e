"""Batches: whole jobs, rows bounded, oldest first, nothing lost or run twice."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_worker.engine.assembly import Assembler, Piece, Policy, halve, next_call
from penstock_worker.engine.batch_limit import BatchLimit


@dataclass(frozen=True, eq=False)
class Jobs:
    jobs: int
    rows: int = 1
    ready_at: float = 0.0
    bytes: int = 100
    solo: bool = False


def policy_of(max_rows: int, max_delay: float, *, batched: bool = True) -> Policy:
    return Policy(BatchLimit(max_rows), max_delay, batched)


NOW = policy_of(8, 0)


def rows_of(batch: list[Piece[Jobs]]) -> int:
    return sum(piece.rows for piece in batch)


def test_jobs_of_several_blocks_meet_in_one_batch() -> None:
    assembler: Assembler[Jobs] = Assembler()
    first, second = Jobs(5), Jobs(5)
    assembler.add("lane", NOW, first)
    assembler.add("lane", NOW, second)
    assert len(assembler) == 10
    assert assembler.take(0.0) == [Piece(first, 0, 5), Piece(second, 0, 3)]
    assert assembler.take(0.0) == [Piece(second, 3, 5)]
    assert assembler.take(0.0) == []
    assert assembler.delay(0.0) is None


def test_lanes_never_meet_and_the_oldest_head_goes_first() -> None:
    assembler: Assembler[Jobs] = Assembler()
    young, old = Jobs(1, ready_at=2.0), Jobs(1, ready_at=1.0)
    assembler.add("a", NOW, young)
    assembler.add("b", NOW, old)
    assert [assembler.take(3.0), assembler.take(3.0)] == [[Piece(old, 0, 1)], [Piece(young, 0, 1)]]


def test_a_job_waits_for_company_up_to_max_delay() -> None:
    assembler: Assembler[Jobs] = Assembler()
    patient = policy_of(8, 0.5)
    assembler.add("lane", patient, Jobs(3, ready_at=10.0))
    assert assembler.delay(10.2) == pytest.approx(0.3)
    assert assembler.take(10.2) == []
    assembler.add("lane", patient, Jobs(1, ready_at=10.4))
    assert assembler.delay(10.4) == pytest.approx(0.1), "the oldest job's wait counts"
    assert rows_of(assembler.take(10.5)) == 4


def test_a_full_batch_does_not_wait() -> None:
    assembler: Assembler[Jobs] = Assembler()
    patient = policy_of(8, 60)
    assembler.add("lane", patient, Jobs(9))
    assert assembler.delay(0.0) == 0
    assert rows_of(assembler.take(0.0)) == 8
    assert assembler.delay(0.0) == 60


def test_a_job_larger_than_a_batch_is_one_alone() -> None:
    assembler: Assembler[Jobs] = Assembler()
    small, large = Jobs(1, rows=2), Jobs(2, rows=20)
    for block in (small, large, small):
        assembler.add("lane", NOW, block)
    taken = [assembler.take(0.0) for _ in range(4)]
    assert taken == [[Piece(small, 0, 1)], [Piece(large, 0, 1)], [Piece(large, 1, 2)], [Piece(small, 0, 1)]]


def test_the_limit_of_a_lane_may_change_while_jobs_wait() -> None:
    assembler: Assembler[Jobs] = Assembler()
    limit = BatchLimit(8)
    block = Jobs(20)
    assembler.add("lane", Policy(limit, 60, batched=True), block)
    assert assembler.take(0.0) == [Piece(block, 0, 8)]
    limit.refused(8, 0.0)
    assert assembler.take(0.0) == [Piece(block, 8, 12)]
    large = Jobs(1, rows=5)
    assembler.add("other", Policy(limit, 0, batched=True), large)
    assert assembler.take(0.0) == [Piece(block, 12, 16)]
    assert assembler.take(0.0) == [Piece(block, 16, 20)]
    assert assembler.take(0.0) == [Piece(large, 0, 1)], "larger than a batch is now: alone"


def test_nobody_waits_for_company_that_the_parent_holds_back() -> None:
    patient = policy_of(1000, 60.0)
    for bounds in ({"most_jobs": 8}, {"most_bytes": 200}):
        assembler: Assembler[Jobs] = Assembler(**bounds)
        assembler.add("lane", patient, Jobs(4))
        assert assembler.take(0.0) == []
        assembler.add("other", patient, Jobs(4))
        assert len(assembler.take(0.0)) == 1
        assert assembler.take(0.0) == [], "there is room for more again"


@pytest.mark.parametrize(("policy", "solo"), [(policy_of(8, 60, batched=False), False), (policy_of(8, 60), True)])
def test_jobs_that_must_stand_alone_do_so_at_once(policy: Policy, *, solo: bool) -> None:
    assembler: Assembler[Jobs] = Assembler()
    block = Jobs(3, solo=solo)
    assembler.add("lane", policy, block)
    assert [assembler.take(0.0) for _ in range(4)] == [[Piece(block, i, i + 1)] for i in range(3)] + [[]]


lanes = st.sampled_from(["a", "b"])
blocks = st.builds(Jobs, jobs=st.integers(1, 9), rows=st.integers(1, 12), ready_at=st.floats(0, 5), solo=st.booleans())


@given(
    added=st.lists(st.tuples(lanes, blocks, st.integers(0, 2)), max_size=12),
    max_rows=st.integers(1, 10),
    max_delay=st.sampled_from([0.0, 1.0]),
    batched=st.booleans(),
)
def test_whole_jobs_once_in_order_and_bounded(
    added: list[tuple[str, Jobs, int]], max_rows: int, max_delay: float, *, batched: bool
) -> None:
    policy = policy_of(max_rows, max_delay, batched=batched)
    assembler: Assembler[Jobs] = Assembler()
    taken: list[list[Piece[Jobs]]] = []
    now = 0.0
    lane_of: dict[int, str] = {}
    for lane, block, takes in added:
        lane_of[id(block)] = lane
        assembler.add(lane, policy, block)
        taken += [batch for _ in range(takes) if (batch := assembler.take(now))]
    now = 10.0
    while batch := assembler.take(now):
        taken.append(batch)
    assert len(assembler) == 0
    assert assembler.delay(now) is None
    for batch in taken:
        assert len({lane_of[id(piece.block)] for piece in batch}) == 1
        jobs = sum(piece.jobs for piece in batch)
        assert jobs == 1 or (batched and rows_of(batch) <= max_rows and not any(piece.block.solo for piece in batch))
    for lane in ("a", "b"):
        expected = [(id(block), job) for own, block, _ in added if own == lane for job in range(block.jobs)]
        pieces = [piece for batch in taken for piece in batch if lane_of[id(piece.block)] == lane]
        assert [(id(piece.block), job) for piece in pieces for job in range(piece.begin, piece.end)] == expected


@given(added=st.lists(st.tuples(lanes, blocks), min_size=1, max_size=12), now=st.floats(0, 10))
def test_a_batch_can_be_taken_exactly_when_the_delay_is_over(added: list[tuple[str, Jobs]], now: float) -> None:
    assembler: Assembler[Jobs] = Assembler()
    for lane, block in added:
        assembler.add(lane, policy_of(64, 2.0), block)
    delay = assembler.delay(now)
    assert delay is not None
    assert bool(assembler.take(now)) is (delay == 0)


pieces = st.builds(
    lambda block, cuts: Piece(block, min(cuts), max(cuts) + 1),
    blocks,
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
)


@given(st.lists(pieces, min_size=1, max_size=6).filter(lambda batch: sum(p.jobs for p in batch) >= 2))
def test_halves_hold_every_job_once_in_order_and_are_nearly_equal(batch: list[Piece[Jobs]]) -> None:
    left, right = halve(batch)

    def jobs(part: list[Piece[Jobs]]) -> list[tuple[int, int]]:
        return [(id(piece.block), job) for piece in part for job in range(piece.begin, piece.end)]

    assert jobs(left) + jobs(right) == jobs(batch)
    assert all(piece.jobs > 0 for piece in left + right)
    assert len(jobs(right)) - len(jobs(left)) in {0, 1}


@given(
    rows=st.integers(1, 300),
    sizes=st.lists(st.integers(1, 64), min_size=1, unique=True).map(sorted),
    padded=st.booleans(),
)
def test_calls_cover_all_rows_in_allowed_sizes(rows: int, sizes: list[int], *, padded: bool) -> None:
    plan: list[tuple[int, int]] = []
    while (left := rows - sum(taken for taken, _ in plan)) > 0:
        plan.append(next_call(left, sizes[-1], sizes if padded else None))
    assert sum(taken for taken, _ in plan) == rows
    assert all(0 < taken <= called <= sizes[-1] for taken, called in plan)
    if padded:
        for taken, called in plan:
            assert called == min(size for size in sizes if size >= taken)
    else:
        assert all(taken == called for taken, called in plan)
