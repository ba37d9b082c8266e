"""tritonclient, a client library of the Open Inference Protocol, writes jobs that we read and reads outcomes that we write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.http._utils import _get_inference_request

from penstock_schemas.datatypes import DATATYPES
from penstock_schemas.jobs import Decoded, JobDecoder, Records, Request, RequestedOutput, encode_job
from penstock_schemas.outcomes import encode_succeeded

Array = np.ndarray[Any, Any]


def example(datatype: str) -> Array:
    if datatype == "BYTES":
        return np.array([[b"one", b""], ["drei \N{EURO SIGN}".encode(), b"4"], [b"5\n", b"6"]], object)
    return np.array([[0, 1], [1, 0], [1, 1]]).astype(DATATYPES[datatype].dtype)


def body(arrays: dict[str, Array], *, binary: bool, **said: Any) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """A request as tritonclient would POST it, and its one header."""
    inputs: list[Any] = []
    for name, array in arrays.items():
        datatype = next(known.name for known in DATATYPES.values() if known.dtype == array.dtype)
        tensor = triton.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    fields = {"request_id": "", "outputs": None, "sequence_id": 0, "sequence_start": False, "sequence_end": False}
    fields |= {"priority": 0, "timeout": None, "custom_parameters": None}
    text, length = _get_inference_request(inputs=inputs, **{**fields, **said})
    return text, [] if length is None else [("Inference-Header-Content-Length", str(length).encode())]


def decode(value: bytes, headers: list[tuple[str, bytes | None]]) -> Decoded:
    decoded = JobDecoder().decode(Records.of([value], headers={0: headers} if headers else {}), now_ms=0)
    assert decoded.errors == []
    return decoded


@pytest.mark.parametrize(
    ("datatype", "binary"),
    [(name, binary) for name in DATATYPES for binary in (True, False) if binary or name != "FP16"],  # refused in JSON
)
def test_we_read_its_requests(datatype: str, binary: bool) -> None:
    array = example(datatype)
    decoded = decode(*body({"x": array, "more": np.array([7], np.int32)}, binary=binary))
    inputs = decoded.groups[0].inputs
    assert inputs["x"].dtype == array.dtype
    assert inputs["x"][0].tolist() == array.tolist()
    assert inputs["more"].tolist() == [[7]]


def test_we_read_all_that_it_can_say() -> None:
    outputs = [triton.InferRequestedOutput("y", binary_data=True), triton.InferRequestedOutput("z", binary_data=False)]
    said = {"request_id": "r-1", "timeout": 5000, "outputs": outputs, "custom_parameters": {"signature_name": "s"}}
    decoded = decode(*body({"x": example("FP32")}, binary=True, **said))
    request = decoded.groups[0].request
    assert decoded.ids == [b"r-1"]
    assert request.timeout_us == 5000
    assert request.signature == "s"
    assert request.outputs == (RequestedOutput("y", binary=True), RequestedOutput("z", binary=False))


def test_its_way_of_asking_for_all_outputs_in_binary() -> None:
    assert decode(*body({"x": example("FP32")}, binary=True)).groups[0].request.binary_output


def test_its_classification_and_shared_memory_are_refused() -> None:
    asked = triton.InferRequestedOutput("y", class_count=3)
    value, headers = body({"x": example("FP32")}, binary=True, outputs=[asked])
    ((_, error),) = JobDecoder().decode(Records.of([value], headers={0: headers}), now_ms=0).errors
    assert "classification" in error.message
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_shared_memory("region", 4)
    text, _ = _get_inference_request([tensor], "", None, 0, False, False, 0, None, None)
    ((_, error),) = JobDecoder().decode(Records.of([text]), now_ms=0).errors
    assert "shared_memory_region" in error.message


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_it_reads_our_outcomes(datatype: str, binary: bool) -> None:
    array = example(datatype)
    values = encode_succeeded(
        Request(binary_output=binary),
        model_name="m",
        model_version="3",
        ids=[b"a", b"b", b"c"],
        topic="t",
        partitions=np.zeros(3, np.int32),
        offsets=np.arange(3),
        outputs={"y": array[:, np.newaxis], "more": np.array([[1.5], [2.5], [3.5]])},
        queue_us=np.zeros(3, np.int64),
        decode_us=0,
        batch_wait_us=np.zeros(3, np.int64),
        infer_us=0,
        encode_us=lambda: 0,
        batch_rows=3,
    )
    for index, value in enumerate(values):
        assert isinstance(value, bytes)
        line = value.split(b"\n")[0]
        header_length = None if line == value else len(line) + 1
        result = triton.InferResult.from_response_body(value, header_length=header_length)
        found = result.as_numpy("y")
        assert found is not None
        expected = array[index].tolist()
        if datatype == "BYTES" and not binary:  # It gives text as text here, and as bytes in binary.
            expected = [element.decode() for element in expected]
        assert found.tolist() == [expected]
        more = result.as_numpy("more")
        assert more is not None
        assert more.tolist() == [1.5 + index]
        assert result.get_response()["id"] == "abc"[index]


def test_our_binary_jobs_have_the_layout_of_its_own() -> None:
    arrays = {"x": example("BYTES"), "y": example("INT16")}
    text, ((_, length),) = body(arrays, binary=True)
    assert length is not None
    ours = encode_job(arrays)
    assert ours.split(b"\n", 1)[1] == text[int(length) :]
