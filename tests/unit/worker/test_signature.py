"""Whether a job fits a signature; where it does not, the message says what came and what would be right."""

from __future__ import annotations

import pytest
from tests.unit.worker.making import DOUBLE, a_request

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import Request, RequestedOutput, TensorSpec
from penstock_worker.engine.signature import Port, Signature

TWO = Signature(
    {"a": Port("FP32", (-1, 2)), "b": Port("INT64", (-1, -1))}, {"sum": Port("FP32", (-1,)), "n": Port("INT64", (-1,))}
)


def of(*specs: TensorSpec, outputs: tuple[str, ...] = ()) -> Request:
    return Request(inputs=specs, outputs=tuple(map(RequestedOutput, outputs)))


def x(*shape: int, datatype: str = "FP32") -> TensorSpec:
    return TensorSpec("x", datatype, shape)


@pytest.mark.parametrize("shape", [(1, 4), (7, 4)])
def test_any_number_of_rows_fits(shape: tuple[int, ...]) -> None:
    assert DOUBLE.misfit(a_request(DOUBLE, {"x": shape})) is None


@pytest.mark.parametrize(
    ("signature", "request_", "code", "message"),
    [
        (DOUBLE, of(), ErrorCode.INVALID_INPUT, "input 'x' is missing: the model takes x (FP32 [-1, 4])"),
        (
            DOUBLE,
            of(x(1, 4), TensorSpec("y", "FP32", (1, 4))),
            ErrorCode.INVALID_INPUT,
            "the model has no input 'y': it takes x (FP32 [-1, 4])",
        ),
        (
            DOUBLE,
            of(x(1, 4, datatype="FP64")),
            ErrorCode.INVALID_INPUT,
            "input 'x' has datatype FP64, the model takes FP32 [-1, 4]",
        ),
        (DOUBLE, of(x(1, 5)), ErrorCode.INVALID_INPUT, "input 'x' has shape [1, 5], the model takes [-1, 4]"),
        (
            DOUBLE,
            of(x(4)),
            ErrorCode.INVALID_INPUT,
            "input 'x' has shape [4], the model takes [-1, 4]; rows run along axis 0, so send one row as [1, 4]",
        ),
        (DOUBLE, of(x()), ErrorCode.INVALID_INPUT, "input 'x' has shape [], the model takes [-1, 4]"),
        (
            DOUBLE,
            of(x(0, 4)),
            ErrorCode.INVALID_INPUT,
            "input 'x' has no rows: its shape [0, 4] must begin with 1 or more",
        ),
        (
            TWO,
            of(TensorSpec("a", "FP32", (2, 2)), TensorSpec("b", "INT64", (3, 5))),
            ErrorCode.INVALID_INPUT,
            "input 'b' has 3 rows and 'a' has 2: all inputs of a job must have as many rows",
        ),
        (
            TWO,
            of(TensorSpec("a", "FP32", (2, 2)), TensorSpec("b", "INT64", (2, 5)), outputs=("sum", "mean")),
            ErrorCode.UNKNOWN_OUTPUT,
            "the model has no output 'mean': it has sum, n",
        ),
    ],
)
def test_a_misfit_is_told_in_a_sentence(signature: Signature, request_: Request, code: ErrorCode, message: str) -> None:
    error = signature.misfit(request_)
    assert error is not None
    assert (error.code, error.message) == (code, message)


def test_an_input_of_unknown_rank_takes_any_shape() -> None:
    signature = Signature({"x": Port("BYTES", None)}, {"y": Port("FP32", (-1,))})
    assert signature.misfit(of(x(datatype="BYTES"))) is None
    assert signature.misfit(of(x(1, 2, 3, datatype="BYTES"))) is None
    error = signature.misfit(of(x(1)))
    assert error is not None
    assert error.message == "input 'x' has datatype FP32, the model takes BYTES of any shape"


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched"),
    [
        ([(-1, 4)], [(-1, 4)], True),
        ([(-1, 4), (-1,)], [(-1,), (-1, -1)], True),
        ([(-1, 4)], [None], True),  # the rank of an output is found out by running
        ([(-1, 4)], [()], False),
        ([(-1, 4)], [(1,)], False),
        ([(8, 4)], [(8,)], False),
        ([(-1, 4), (4,)], [(-1,)], False),
        ([None], [(-1,)], False),
        ([()], [(-1,)], False),
    ],
)
def test_rows_are_batched_only_where_axis_0_is_free_everywhere(
    inputs: list[tuple[int, ...] | None], outputs: list[tuple[int, ...] | None], *, batched: bool
) -> None:
    signature = Signature(
        {f"i{n}": Port("FP32", shape) for n, shape in enumerate(inputs)},
        {f"o{n}": Port("FP32", shape) for n, shape in enumerate(outputs)},
    )
    assert signature.batched is batched


def test_one_input_without_a_name_is_the_models_one_input() -> None:
    signature = Signature({"image": Port("FP32", (-1, 8, 8))}, {"y": Port("FP32", (-1,))})
    nameless = Request(inputs=(TensorSpec("", "FP32", (1, 8, 8)),))
    named = signature.named(nameless)
    assert named == Request(inputs=(TensorSpec("image", "FP32", (1, 8, 8)),))
    assert not isinstance(named, JobError)
    assert signature.misfit(named) is None
    several = Signature({"a": Port("FP32", (-1,)), "b": Port("FP32", (-1,))}, {"y": Port("FP32", (-1,))})
    refused = several.named(nameless)
    assert isinstance(refused, JobError)
    assert "a (FP32 [-1]), b (FP32 [-1])" in refused.message
