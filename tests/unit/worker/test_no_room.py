"""Memory that runs out in a call: batches and large jobs are split, the limit is lowered, and raised again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.unit.worker.making import a_block, a_model, a_version, double, firsts, outcomes, whole

from penstock_schemas.errors import ErrorCode
from penstock_worker.engine.backend import Arrays, OutOfMemoryError
from penstock_worker.engine.runner import run, warm_up

NO_ROOM = -3.0


def narrow(most: int) -> Callable[[Arrays], Arrays]:
    """Has room for ``most`` rows in a call, and for none where one is NO_ROOM."""

    def function(inputs: Arrays) -> Arrays:
        if len(inputs["x"]) > most or (inputs["x"] == NO_ROOM).any():
            raise OutOfMemoryError("no room")
        return double(inputs)

    return function


def test_memory_that_runs_out_splits_batches_and_large_jobs_and_lowers_the_limit() -> None:
    version = a_version(model := a_model(narrow(2)), max_batch_rows=8)
    small, large = a_block(version, firsts([1, 2, 3])), a_block(version, firsts([4], rows=5), first=3)
    assert outcomes(run(whole(small, large))) == {b"j0": 2, b"j1": 4, b"j2": 6, b"j3": 8}
    assert small.route.policy.limit.rows == 2
    tries = len(model.calls)
    assert outcomes(run(whole(large))) == {b"j3": 8}
    assert model.rows[tries:] == [2, 2, 1], "nothing is tried that is known to fail"


def test_a_job_for_which_there_is_no_memory_alone_is_said_to_be_that_and_lowers_nothing() -> None:
    version = a_version(a_model(narrow(8)), max_batch_rows=8)
    block, large = a_block(version, firsts([1, 2, NO_ROOM, 4])), a_block(version, firsts([NO_ROOM], rows=4), first=4)
    found = outcomes(run(whole(block))) | outcomes(run(whole(large)))
    assert found == {b"j0": 2, b"j1": 4, b"j2": ErrorCode.OUT_OF_MEMORY, b"j3": 8, b"j4": ErrorCode.OUT_OF_MEMORY}
    assert block.route.policy.limit.rows == 8


def test_with_allowed_sizes_only_those_are_tried() -> None:
    version = a_version(model := a_model(narrow(3)), max_batch_rows=8, allowed_batch_sizes=[2, 4, 8])
    block = a_block(version, firsts([1], rows=7))
    assert outcomes(run(whole(block))) == {b"j0": 2}
    assert model.rows == [8, 4, 2, 2, 2, 2]
    assert block.route.policy.limit.rows == 2
    too_wide = a_version(refusing := a_model(narrow(1)), max_batch_rows=8, allowed_batch_sizes=[2, 8])
    assert outcomes(run(whole(a_block(too_wide, firsts([1], rows=2))))) == {b"j0": ErrorCode.OUT_OF_MEMORY}
    assert refusing.rows == [2]


def test_the_limit_is_raised_again_while_calls_have_room() -> None:
    version = a_version(a_model(narrow(64)), max_batch_rows=8)
    limit = a_block(version, firsts([1])).route.policy.limit
    limit.refused(8, 0.0)
    seconds = map(float, itertools.count())
    for _ in range(100):
        run(whole(a_block(version, firsts([1], rows=8))), clock=lambda: next(seconds))
    assert limit.rows == 8


def test_a_size_that_has_no_room_in_warm_up_is_not_tried_with_jobs_at_first() -> None:
    version = a_version(a_model(narrow(4)), max_batch_rows=8)
    route = a_block(version, firsts([1])).route
    warm_up(route, 10**6)
    assert route.policy.limit.rows == 4
