"""Outcomes say what the model answered, in binary and in JSON, and each stands on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tests.property.strategies import CLIENT_IDS, IDS, NAMES, same

from penstock_schemas.datatypes import DATATYPES, ContractError
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import Request, RequestedOutput
from penstock_schemas.outcomes import (
    Outcome,
    Timings,
    decode_outcome,
    encode_failed,
    encode_succeeded,
    outcome_prefix,
    parse_prefix,
)


@st.composite
def stacks(draw: st.DrawFn, jobs: int, datatype: str | None = None) -> NDArray[Any]:
    """Outputs of so many jobs, stacked; none of them NaN or infinite."""
    name = datatype or draw(st.sampled_from(list(DATATYPES)))
    shape = (jobs, *draw(st.lists(st.integers(0, 3), max_size=3)))
    if name == "BYTES":
        array = np.empty(int(np.prod(shape)), dtype=object)
        array[:] = draw(st.lists(st.binary(max_size=12), min_size=array.size, max_size=array.size))
        return array.reshape(shape)
    dtype = DATATYPES[name].dtype
    finite: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **finite)))


def encode(request: Request, ids: list[str], outputs: dict[str, NDArray[Any]], model: str = "m") -> list[bytes | JobError]:
    count = len(ids)
    return encode_succeeded(
        request,
        model_name=model,
        model_version="3",
        ids=[one.encode() for one in ids],
        topic="penstock.jobs",
        partitions=np.arange(count, dtype=np.int32),
        offsets=np.arange(100, 100 + count, dtype=np.int64),
        outputs=outputs,
        queue_us=np.arange(count, dtype=np.int64),
        decode_us=7,
        batch_wait_us=np.arange(count, dtype=np.int64) * 3,
        infer_us=9,
        encode_us=lambda: 11,
        batch_rows=count,
    )


@settings(max_examples=150)
@given(
    data=st.data(),
    ids=st.lists(IDS, min_size=1, max_size=5),
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    model=NAMES,
    reply_to=st.none() | CLIENT_IDS,
    generation=st.integers(0, 2**31 - 1),
    binary=st.booleans(),
)
def test_results_come_back(
    data: st.DataObject,
    ids: list[str],
    names: list[str],
    model: str,
    reply_to: str | None,
    generation: int,
    binary: bool,
) -> None:
    outputs = {name: data.draw(stacks(len(ids))) for name in names}
    asked = st.builds(RequestedOutput, st.just(""), st.sampled_from([None, True, False]), st.sampled_from([None, "base64"]))
    wanted = data.draw(st.lists(st.sampled_from(names), unique=True))
    requested = tuple(RequestedOutput(name, want.binary, want.content_type) for name in wanted for want in [data.draw(asked)])
    request = Request(outputs=requested, binary_output=binary, reply_to=reply_to, generation=generation, attempt=2)
    values = encode(request, ids, outputs, model)
    for index, (value, job_id) in enumerate(zip(values, ids, strict=True)):
        assert isinstance(value, bytes)
        outcome = decode_outcome(value)
        assert list(outcome.outputs) == (wanted or names)
        for name, array in outcome.outputs.items():
            assert same(array, outputs[name][index, ...])
        assert outcome == Outcome(
            id=job_id,
            status="succeeded",
            generation=generation,
            attempts=2,
            origin=f"penstock.jobs-{index}-{100 + index}",
            model_name=model,
            model_version="3",
            timings=Timings(index, 7, index * 3, 9, 11, len(ids)),
            outputs=outcome.outputs,
            reply_to=reply_to,
        )
        prefix = outcome_prefix(value)
        assert prefix is not None
        assert parse_prefix(prefix) == (generation, reply_to)


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@settings(max_examples=20)
@given(data=st.data())
def test_every_datatype_comes_back(datatype: str, binary: bool, data: st.DataObject) -> None:
    array = data.draw(stacks(3, datatype))
    for index, value in enumerate(encode(Request(binary_output=binary), ["a", "b", "c"], {"y": array})):
        assert isinstance(value, bytes)
        assert same(decode_outcome(value)["y"], array[index, ...])


@given(
    status=st.sampled_from(["failed", "expired"]),
    code=st.sampled_from(ErrorCode),
    message=st.text(st.characters(), max_size=50),  # half surrogate pairs included
    job_id=IDS,
    reply_to=st.none() | CLIENT_IDS,
    generation=st.integers(0, 100),
)
def test_failures_come_back(
    status: Any, code: ErrorCode, message: str, job_id: str, reply_to: str | None, generation: int
) -> None:
    request = Request(model_name="m", reply_to=reply_to, generation=generation, attempt=3)
    error = JobError(code, message)
    value = encode_failed(id=job_id.encode(), status=status, error=error, origin="t-0-1", request=request)
    outcome = decode_outcome(value)
    assert (outcome.id, outcome.status, outcome.error_code) == (job_id, status, code)
    assert (outcome.generation, outcome.attempts, outcome.reply_to) == (generation, 3, reply_to)
    assert outcome.error == message.encode("utf-8", "replace").decode()
    prefix = outcome_prefix(value)
    assert prefix is not None
    assert parse_prefix(prefix) == (generation, reply_to)


@settings(max_examples=400)
@given(value=st.binary(max_size=100))
def test_what_is_no_outcome_raises_the_contracts_error_alone(value: bytes) -> None:
    with pytest.raises(ContractError):
        decode_outcome(value)


@settings(max_examples=400)
@given(data=st.data(), binary=st.booleans())
def test_mutated_outcomes_raise_the_contracts_error_alone(data: st.DataObject, binary: bool) -> None:
    (value,) = encode(
        Request(binary_output=binary, reply_to="c"), ["a"], {"y": data.draw(stacks(1)), "z": data.draw(stacks(1))}
    )
    assume(isinstance(value, bytes))
    assert isinstance(value, bytes)
    mutated = bytearray(value)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        mutated[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    prefix = outcome_prefix(bytes(mutated))
    try:
        decode_outcome(bytes(mutated))
    except ContractError as error:
        assert str(error)
    if prefix is not None:
        try:
            parse_prefix(prefix)
        except ContractError as error:
            assert str(error)
