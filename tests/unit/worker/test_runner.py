"""Running a batch: padding, splitting large jobs, and bisection that leaves exactly the guilty behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.making import DOUBLE, FakeModel, a_block, a_model, a_version, double, firsts, outcomes, strings, whole

from penstock_schemas.errors import ErrorCode
from penstock_worker.engine.assembly import Piece
from penstock_worker.engine.backend import Arrays
from penstock_worker.engine.runner import non_finite_jobs, run, warm_up
from penstock_worker.engine.signature import Port, Signature
from penstock_worker.engine.transforms import Retry, Transform

HERE = __name__
BAD = -1.0


def picky(inputs: Arrays) -> Arrays:
    """Refuses any batch with a bad value in it."""
    if (inputs["x"] == BAD).any():
        raise ValueError("x must not be -1\nand more lines that no caller wants")
    return double(inputs)


def test_pieces_meet_in_one_call_and_each_gets_its_own_back() -> None:
    version = a_version(model := a_model())
    first, second = a_block(version, firsts([1, 2, 3])), a_block(version, firsts([4, 5], rows=2), first=10)
    ran = run([Piece(first, 1, 3), Piece(second, 0, 2)])
    assert model.rows == [6]
    assert outcomes(ran) == {b"j1": 4, b"j2": 6, b"j10": 8, b"j11": 10}
    assert [result.batch_rows for result in ran] == [6, 6]
    assert ran[1].outputs["y"].shape == (2, 2, 4)


@pytest.mark.parametrize(("jobs", "called"), [(1, 2), (2, 2), (3, 8), (8, 8)])
def test_a_batch_is_padded_with_a_real_row_to_an_allowed_size(jobs: int, called: int) -> None:
    version = a_version(model := a_model(), max_batch_rows=8, allowed_batch_sizes=[2, 8])
    ran = run(whole(a_block(version, firsts(list(range(1, jobs + 1))))))
    assert model.rows == [called]
    rows = {tuple(row) for row in model.calls[0]["x"].tolist()}
    assert rows == {(float(n),) * 4 for n in range(1, jobs + 1)}, "no row is made up"
    assert ran[0].outputs["y"][:, 0, 0].tolist() == [2.0 * n for n in range(1, jobs + 1)]
    assert ran[0].batch_rows == jobs


def test_a_job_larger_than_a_batch_is_split_and_joined_again() -> None:
    version = a_version(model := a_model(), max_batch_rows=4, allowed_batch_sizes=[1, 4])
    values = np.arange(9 * 4, dtype=np.float32).reshape(1, 9, 4)
    ran = run(whole(a_block(version, {"x": values})))
    assert model.rows == [4, 4, 1]
    assert np.array_equal(ran[0].outputs["y"], values * 2)


@given(jobs=st.lists(st.booleans(), min_size=1, max_size=24), cut=st.integers(0, 24), rows=st.integers(1, 2))
def test_bisection_fails_exactly_the_guilty(jobs: list[bool], cut: int, rows: int) -> None:
    version = a_version(model := a_model(picky))
    block = a_block(version, firsts([BAD if guilty else number for number, guilty in enumerate(jobs)], rows))
    pieces = [Piece(block, begin, end) for begin, end in ((0, min(cut, len(jobs))), (min(cut, len(jobs)), len(jobs)))]
    found = outcomes(run([piece for piece in pieces if piece.jobs]))
    assert found == {b"j%d" % number: ErrorCode.MODEL_ERROR if guilty else 2.0 * number for number, guilty in enumerate(jobs)}
    assert len(model.calls) <= 2 * len(jobs)


def test_the_error_names_the_model_and_the_first_line_of_what_it_said() -> None:
    (ran,) = run(whole(a_block(a_version(a_model(picky)), firsts([BAD]))))
    error, evidence = ran.failed[0]
    assert error.message == "model 'm' version 1 refused these values: ValueError: x must not be -1"
    assert "Traceback" in evidence


def test_the_evidence_of_one_among_many_is_its_own_traceback_alone() -> None:
    (error, evidence) = next(
        one for ran in run(whole(a_block(a_version(a_model(picky)), firsts([1, 2, BAD, 3])))) for one in ran.failed.values()
    )
    assert error.code is ErrorCode.MODEL_ERROR
    assert evidence.count("Traceback") == 1


def test_who_is_about_to_run_is_told_before_each_step() -> None:
    """Each call of a batch that is split, each of a large job, and each hook: the suspects are exact."""
    version = a_version(model := a_model(picky), max_batch_rows=2)
    told: list[tuple[list[bytes], int]] = []

    def about(pieces: list[Piece[Any]]) -> None:
        told.append(([piece.block.ids[i] for piece in pieces for i in range(piece.begin, piece.end)], len(model.calls)))

    run(whole(a_block(version, firsts([1, BAD]))), about)
    assert told == [([b"j0", b"j1"], 0), ([b"j0"], 1), ([b"j1"], 2)]
    told.clear()
    run(whole(a_block(version, firsts([1], rows=5))), about)
    assert told == [([b"j0"], calls) for calls in (3, 4, 5)]
    told.clear()
    hooked = a_version(model, transform=Transform(f"{HERE}:InPlace"))
    run(whole(a_block(hooked, firsts([1]))), about)
    assert told == [([b"j0"], 6), ([b"j0"], 6), ([b"j0"], 7)]


def test_a_signature_without_free_rows_runs_one_job_a_call() -> None:
    signature = Signature({"x": Port("FP32", (2, 2))}, {"y": Port("FP32", ())})
    model = FakeModel({"serving_default": signature}, lambda inputs: {"y": inputs["x"].sum()})
    block = a_block(a_version(model), {"x": np.arange(12, dtype=np.float32).reshape(3, 2, 2)})
    assert block.rows == 1
    ran = [result for job in range(3) for result in run([Piece(block, job, job + 1)])]
    assert [inputs["x"].shape for inputs in model.calls] == [(2, 2)] * 3
    assert outcomes(ran) == {b"j0": 6, b"j1": 22, b"j2": 38}
    assert ran[0].outputs["y"].shape == (1,)


def test_non_finite_outputs_fail_their_own_jobs_only() -> None:
    def divide(inputs: Arrays) -> Arrays:
        with np.errstate(divide="ignore"):
            return {"y": 1 / inputs["x"]}

    block = firsts([1, 0, 2])
    found = outcomes(run(whole(a_block(a_version(a_model(divide)), block))))
    assert found == {b"j0": 1, b"j1": ErrorCode.NON_FINITE_OUTPUT, b"j2": 0.5}
    allowed = outcomes(run(whole(a_block(a_version(a_model(divide), allow_non_finite=True), block))))
    assert allowed == {b"j0": 1, b"j1": np.inf, b"j2": 0.5}


def test_non_finite_values_are_found_job_by_job() -> None:
    two = np.zeros((3, 2, 2), np.float16)
    two[1, 1, 0] = np.inf
    one = np.array([0, 0, np.nan])
    arrays = {
        "n": np.ones((3, 1), np.int64),
        "s": strings(b"a", b"b", b"c", shape=(3, 1)),
        "empty": np.ones((3, 0)),
        "a": two,
        "b": one,
    }
    assert non_finite_jobs(arrays, 3) == {1: "a", 2: "b"}


@pytest.mark.parametrize("rows", [1, 5])
def test_outputs_whose_rows_are_not_the_inputs_rows_are_refused(rows: int) -> None:
    version = a_version(a_model(lambda inputs: {"y": np.zeros((rows, 4), np.float32)}))
    ran = run(whole(a_block(version, firsts([1, 2], rows=2))))
    assert set(outcomes(ran).values()) == {ErrorCode.MODEL_ERROR}


class InPlace:
    """Scales where the values stand, as users do."""

    def preprocess(self, inputs: Arrays) -> Arrays:
        inputs["x"] *= 10
        if (inputs["x"] == 10 * BAD).any():
            raise ValueError("bad")
        return inputs


class NotYet:
    """Asks for another try for the sake of one value."""

    def preprocess(self, inputs: Arrays) -> Arrays:
        if (inputs["x"] == BAD).any():
            raise Retry("the feature store is away")
        return inputs


class Drops:
    def preprocess(self, inputs: Arrays) -> Arrays:
        return {"x": inputs["x"][inputs["x"][:, 0] != 2]}


class Renames:
    outputs = {"label": ("FP32", (-1, 4))}  # noqa: RUF012 - as a user writes it

    def postprocess(self, outputs: Arrays) -> Arrays:
        return {"lable": outputs["y"]}


class NoArrays:
    def postprocess(self, outputs: Arrays) -> Any:
        return {"y": outputs["y"].tolist()}


def test_a_transform_that_works_in_place_sees_each_value_once_even_where_the_batch_is_split() -> None:
    version = a_version(a_model(), transform=Transform(f"{HERE}:InPlace"))
    found = outcomes(run(whole(a_block(version, firsts([1, 2, BAD, 4])))))
    assert found == {b"j0": 20, b"j1": 40, b"j2": ErrorCode.TRANSFORM_ERROR, b"j3": 80}


def test_a_transform_may_ask_for_another_try_for_one_job() -> None:
    version = a_version(a_model(), transform=Transform(f"{HERE}:NotYet"))
    ran = run(whole(a_block(version, firsts([1, BAD, 3]))))
    assert outcomes(ran) == {b"j0": 2, b"j1": ErrorCode.TRANSFORM_RETRY, b"j2": 6}
    ((error, evidence),) = [failure for one in ran for failure in one.failed.values()]
    assert error.message == "the transform of model 'm' version 1 asked for another try: the feature store is away"
    assert "preprocess" in evidence


def test_a_transform_that_works_in_place_on_single_jobs_does_so_on_a_copy() -> None:
    signature = Signature({"x": Port("FP32", (1, 4))}, {"y": Port("FP32", (1, 4))})
    version = a_version(a_model(signature=signature), transform=Transform(f"{HERE}:InPlace"))
    block = a_block(version, firsts([3]))
    run(whole(block))
    assert outcomes(run(whole(block))) == {b"j0": 60}


@pytest.mark.parametrize("sizes", [None, [4]])
def test_a_transform_that_drops_rows_never_gives_a_job_anothers_result(sizes: list[int] | None) -> None:
    version = a_version(a_model(), transform=Transform(f"{HERE}:Drops"), max_batch_rows=4, allowed_batch_sizes=sizes)
    found = outcomes(run(whole(a_block(version, firsts([1, 2, 3])))))
    assert found == {b"j0": 2, b"j1": ErrorCode.TRANSFORM_ERROR, b"j2": 6}


@pytest.mark.parametrize("name", ["Renames", "NoArrays"])
def test_a_transform_that_does_not_return_what_it_declares_fails_its_jobs_here(name: str) -> None:
    version = a_version(a_model(), transform=Transform(f"{HERE}:{name}"))
    found = outcomes(run(whole(a_block(version, firsts([1, 2])))))
    assert set(found.values()) == {ErrorCode.TRANSFORM_ERROR}


def test_strings_pass_through_as_they_are() -> None:
    signature = Signature({"s": Port("BYTES", (-1, -1))}, {"y": Port("BYTES", (-1, -1))})
    model = FakeModel({"serving_default": signature}, lambda inputs: {"y": inputs["s"]})
    version = a_version(model, max_batch_rows=4, allowed_batch_sizes=[4])
    block = a_block(version, {"s": strings(b"a\0", b"", b"\xff", b"d", shape=(2, 1, 2))})
    (ran,) = run(whole(block))
    assert model.rows == [4]
    assert ran.outputs["y"].tolist() == [[[b"a\0", b""]], [[b"\xff", b"d"]]]


def warmed(model: FakeModel, budget: int = 10**6, **settings: Any) -> list[int]:
    version = a_version(model, **settings)
    block = a_block(version, firsts([1]))
    warm_up(block.route, budget)
    return model.rows


def test_every_allowed_size_is_warmed_up_as_far_as_memory_goes() -> None:
    assert warmed(a_model(), max_batch_rows=8, allowed_batch_sizes=[1, 4, 8]) == [1, 4, 8]
    assert warmed(a_model(), max_batch_rows=8) == [1, 8]
    assert warmed(a_model(), 4 * 16, max_batch_rows=8, allowed_batch_sizes=[1, 4, 8]) == [1, 4]


def test_a_model_that_refuses_zeros_is_warm_enough() -> None:
    def no_zeros(inputs: Arrays) -> Arrays:
        raise ValueError("zeros")

    assert warmed(a_model(no_zeros), max_batch_rows=8) == [1]


def test_warm_up_makes_inputs_of_every_kind() -> None:
    ports = {"a": Port("BYTES", (-1, 3)), "b": Port("BOOL", (-1,)), "c": Port("FP16", (-1, -1, 2)), "d": Port("INT64", (-1, 0))}
    model = FakeModel(
        {"serving_default": Signature(ports, {"y": Port("FP32", (-1,))})}, lambda inputs: {"y": np.zeros(len(inputs["b"]))}
    )
    inputs: Arrays = {"a": strings(*[b""] * 3, shape=(1, 1, 3)), "b": np.zeros((1, 1), np.bool_)}
    inputs |= {"c": np.zeros((1, 1, 1, 2), np.float16), "d": np.zeros((1, 1, 0), np.int64)}
    warm_up(a_block(a_version(model, max_batch_rows=2), inputs).route, 10**6)
    assert [{name: array.shape for name, array in call.items()} for call in model.calls] == [
        {"a": (rows, 3), "b": (rows,), "c": (rows, 1, 2), "d": (rows, 0)} for rows in (1, 2)
    ]
    assert model.calls[0]["a"].tolist() == [[b""] * 3]


def test_the_signature_that_is_doubled_is_batched() -> None:
    assert DOUBLE.batched
