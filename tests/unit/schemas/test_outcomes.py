"""Outcomes: the fixed order of keys, which outputs in which encoding, and failures that harm no neighbour."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import Request, RequestedOutput
from penstock_schemas.outcomes import (
    ContractError,
    Timings,
    decode_outcome,
    encode_failed,
    encode_succeeded,
    outcome_prefix,
    parse_prefix,
)

FLOATS = np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6]], np.float32)


def encode(request: Request, outputs: dict[str, np.ndarray[Any, Any]], **more: Any) -> list[bytes | JobError]:
    count = len(next(iter(outputs.values())))
    fields: dict[str, Any] = {
        "model_name": "m",
        "model_version": "3",
        "ids": [b"id%d" % index for index in range(count)],
        "topic": "penstock.jobs",
        "partitions": np.zeros(count, np.int32),
        "offsets": np.arange(count),
        "queue_us": np.arange(count),
        "decode_us": 1,
        "batch_wait_us": np.arange(count),
        "infer_us": 2,
        "encode_us": lambda: 3,
        "batch_rows": count,
    }
    return encode_succeeded(request, outputs=outputs, **{**fields, **more})


def line(value: bytes | JobError) -> dict[str, Any]:
    assert isinstance(value, bytes)
    document: dict[str, Any] = orjson.loads(value.split(b"\n")[0])
    return document


def test_an_outcome_is_the_bytes_the_contract_says() -> None:
    request = Request(reply_to="me", generation=2, attempt=4, binary_output=True)
    (value,) = encode(request, {"y": np.array([[1.0]], np.float32)}, ids=[b"a1"])
    assert value == (
        b'{"contract":"1","generation":2,"reply_to":"me","id":"a1","status":"succeeded","model_name":"m","model_version":"3",'
        b'"attempts":4,"origin":"penstock.jobs-0-0","timings":{"queue_us":0,"decode_us":1,"batch_wait_us":0,"infer_us":2,'
        b'"encode_us":3,"batch_rows":1},"outputs":[{"name":"y","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}'
        b"\n\0\0\x80?"
    )


def test_json_is_one_line_that_nothing_follows() -> None:
    (value, *_) = encode(Request(), {"y": np.array([[1.5, 2]], np.float32)})
    assert isinstance(value, bytes)
    assert b"\n" not in value
    assert line(value)["outputs"] == [{"name": "y", "shape": [2], "datatype": "FP32", "data": [1.5, 2.0]}]


def test_only_what_is_asked_for_comes_and_as_it_is_asked_for() -> None:
    outputs = {"a": np.array([[1]], np.int64), "b": np.array([[2]], np.int64), "c": np.array([[3]], np.int64)}
    request = Request(outputs=(RequestedOutput("c", binary=True), RequestedOutput("a")))
    (value,) = encode(request, outputs)
    assert line(value)["outputs"] == [
        {"name": "c", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
        {"name": "a", "shape": [1], "datatype": "INT64", "data": [1]},
    ]
    assert isinstance(value, bytes)
    assert value.endswith(b"\n" + np.int64(3).tobytes())


def test_fp16_comes_in_binary_whatever_is_asked() -> None:
    request = Request(outputs=(RequestedOutput("y", binary=False),))
    (value,) = encode(request, {"y": np.array([[1.5]], np.float16)})
    assert line(value)["outputs"][0]["parameters"] == {"binary_data_size": 2}
    assert isinstance(value, bytes)
    assert decode_outcome(value)["y"] == np.float16(1.5)


def test_nan_fails_the_one_job_that_asked_for_json() -> None:
    values = encode(Request(), {"y": FLOATS})
    assert isinstance(values[1], JobError)
    assert values[1].code == ErrorCode.NON_FINITE_OUTPUT
    assert 'output "y"' in values[1].message
    assert line(values[0])["outputs"][0]["data"] == [0.1, 0.2]
    assert line(values[2])["outputs"][0]["data"] == [0.5, 0.6]


def test_nan_goes_in_binary() -> None:
    values = encode(Request(binary_output=True), {"y": FLOATS})
    for index, value in enumerate(values):
        assert isinstance(value, bytes)
        np.testing.assert_array_equal(decode_outcome(value)["y"], FLOATS[index])


def test_bytes_that_are_no_text_go_in_base64_and_say_so_and_their_neighbours_do_not() -> None:
    values = encode(Request(), {"y": np.array([[b"text"], [b"\xff"]], object)})
    assert line(values[0])["outputs"] == [{"name": "y", "shape": [1], "datatype": "BYTES", "data": ["text"]}]
    assert line(values[1])["outputs"] == [
        {"name": "y", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": ["/w=="]}
    ]


def test_base64_can_be_asked_for() -> None:
    request = Request(outputs=(RequestedOutput("y", content_type="base64"),))
    (value,) = encode(request, {"y": np.array([["text"]], object)})
    assert line(value)["outputs"][0]["data"] == ["dGV4dA=="]
    assert isinstance(value, bytes)
    assert decode_outcome(value)["y"].tolist() == [b"text"]


@pytest.mark.parametrize("binary", [True, False])
def test_a_string_output_that_holds_something_else_fails_alone(binary: bool) -> None:
    values = encode(Request(binary_output=binary), {"y": np.array([["fine"], [3.5], [b"fine"]], object)})
    assert isinstance(values[1], JobError)
    assert "float" in values[1].message
    assert isinstance(values[0], bytes)
    assert isinstance(values[2], bytes)


def test_a_dtype_that_the_protocol_does_not_know_fails_its_jobs() -> None:
    (value,) = encode(Request(), {"y": np.array([[1j]])})
    assert isinstance(value, JobError)
    assert "complex128" in value.message
    assert value.code == ErrorCode.MODEL_ERROR


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 2, 2)])
@pytest.mark.parametrize("binary", [True, False])
def test_scalars_empties_and_planes(shape: tuple[int, ...], binary: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    for index, value in enumerate(encode(Request(binary_output=binary), {"y": array})):
        assert isinstance(value, bytes)
        found = decode_outcome(value)["y"]
        assert found.shape == shape[1:]
        assert found.tolist() == array[index].tolist()


def test_an_output_that_is_not_contiguous_or_big_endian() -> None:
    array = np.asfortranarray(np.arange(12, dtype=">f8").reshape(3, 4))[:, ::2]
    for binary in (True, False):
        for index, value in enumerate(encode(Request(binary_output=binary), {"y": array})):
            assert isinstance(value, bytes)
            assert decode_outcome(value)["y"].tolist() == array[index].tolist()


def test_names_with_per_cent_signs_and_quotes_are_only_names() -> None:
    (value,) = encode(Request(), {'%d"%s': np.array([[1]])}, model_name='100%"', model_version="%b", topic="t%s")
    assert isinstance(value, bytes)
    outcome = decode_outcome(value)
    assert (outcome.model_name, outcome.model_version, outcome.origin) == ('100%"', "%b", "t%s-0-0")
    assert outcome['%d"%s'].tolist() == [1]


def test_no_jobs_are_no_outcomes() -> None:
    assert encode(Request(), {"y": np.zeros((0, 2), np.float32)}) == []


def test_a_failure_takes_what_it_is_not_told_from_the_request() -> None:
    request = Request(model_name="m", model_version="3", reply_to="me", generation=1, attempt=2)
    error = JobError(ErrorCode.MODEL_ERROR, "the model refused it")
    value = encode_failed(id=b"a", status="failed", error=error, origin="t-0-1", request=request, timings=Timings(queue_us=5))
    assert value == (
        b'{"contract":"1","generation":1,"reply_to":"me","id":"a","status":"failed","model_name":"m","model_version":"3",'
        b'"attempts":2,"origin":"t-0-1","timings":{"queue_us":5,"decode_us":0,"batch_wait_us":0,"infer_us":0,"encode_us":0,'
        b'"batch_rows":0},"error_code":"model_error","error":"the model refused it"}'
    )
    told = encode_failed(
        id=b"a", status="expired", error=error, origin="t-0-1", request=request, model_version="4", attempts=9, generation=0
    )
    outcome = decode_outcome(told)
    assert (outcome.status, outcome.model_version, outcome.attempts, outcome.generation) == ("expired", "4", 9, 0)


def test_a_message_that_utf_8_cannot_say_is_said_as_far_as_it_goes() -> None:
    value = encode_failed(id=b"a", status="failed", error=JobError(ErrorCode.MODEL_ERROR, "x\ud800y"), origin="t-0-1")
    assert decode_outcome(value).error == "x?y"


def test_an_endless_message_is_cut() -> None:
    value = encode_failed(id=b"a", status="failed", error=JobError(ErrorCode.MODEL_ERROR, "x" * 10**6), origin="t-0-1")
    assert len(value) < 3000


def test_prefixes_are_the_same_for_all_jobs_of_one_caller() -> None:
    values = encode(Request(reply_to="me"), {"y": np.zeros((5, 1), np.float32)})
    (prefix,) = {outcome_prefix(value) for value in values if isinstance(value, bytes)}
    assert prefix == b'{"contract":"1","generation":0,"reply_to":"me"'
    assert parse_prefix(prefix) == (0, "me")


@pytest.mark.parametrize("value", [b"", b"rubbish", b',"id":', b'{"a":1}', b" " * 300 + b',"id":'])
def test_what_is_no_outcome_has_no_prefix(value: bytes) -> None:
    assert outcome_prefix(value) is None


@pytest.mark.parametrize(
    "prefix", [b"", b'{"generation":-1', b'{"generation":"1"', b'{"reply_to":"a b"', b'{"reply_to":7', b"[1]"]
)
def test_a_broken_prefix_raises_the_contracts_error(prefix: bytes) -> None:
    with pytest.raises(ContractError):
        parse_prefix(prefix)


GOOD = {"id": "a", "status": "succeeded", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [1]}]}
RAW = {"name": "y", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"rubbish", "no JSON"),
        (b"[]", "a list of 0"),
        (orjson.dumps({**GOOD, "status": "done"}), 'status is "done"'),
        (orjson.dumps({**GOOD, "id": None}), "id null"),
        (orjson.dumps({**GOOD, "generation": -1}), "generation"),
        (orjson.dumps({**GOOD, "origin": 7}), "origin"),
        (orjson.dumps({**GOOD, "timings": {"queue_us": "1"}}), "queue_us"),
        (orjson.dumps({**GOOD, "outputs": 7}), "outputs"),
        (orjson.dumps({**GOOD, "outputs": [7]}), "outputs is 7"),
        (orjson.dumps({**GOOD, "outputs": [{**RAW, "shape": [2]}]}) + b"\nabcd", "takes 8 bytes"),
        (orjson.dumps({**GOOD, "outputs": [{**RAW, "datatype": "FP99"}]}) + b"\nabcd", "datatype"),
        (orjson.dumps({**GOOD, "outputs": [RAW]}) + b"\nabc", "3 bytes are left"),
        (orjson.dumps({**GOOD, "outputs": [RAW]}) + b"\nabcde", "5 bytes follow"),
    ],
)
def test_what_is_no_outcome_is_named(value: bytes, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        decode_outcome(value)


def test_an_output_that_is_not_there_is_named_beside_those_that_are() -> None:
    outcome = decode_outcome(orjson.dumps(GOOD))
    assert outcome["y"].tolist() == [1]
    with pytest.raises(KeyError, match="no output 'z'; outputs: 'y'"):
        outcome["z"]


def test_arrays_are_the_callers_to_keep_and_change() -> None:
    (value, *_) = encode(Request(binary_output=True), {"y": FLOATS})
    assert isinstance(value, bytes)
    array = decode_outcome(value)["y"]
    array += 1
    assert array.flags.aligned
