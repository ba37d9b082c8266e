"""What callers hand over, and what no job can carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from penstock_schemas.datatypes import ContractError
from penstock_schemas.jobs import JobDecoder, JobEncoder, Records, RequestedOutput, TensorSpec, encode_job, encode_request_line


def decoded(value: bytes) -> np.ndarray[Any, Any]:
    out = JobDecoder().decode(Records.of([value]), now_ms=0)
    assert out.errors == []
    return out.groups[0].inputs["x"][0, ...]


def test_the_line_is_the_same_bytes_from_job_to_job_and_stands_in_front() -> None:
    encoder = JobEncoder(model_name="m", outputs=(RequestedOutput("y"),), timeout_us=5, reply_to="me")
    line = encode_request_line(
        [(TensorSpec("x", "FP32", (1, 2)), 8)], model_name="m", outputs=[RequestedOutput("y")], timeout_us=5, reply_to="me"
    )
    first, second = (encoder.encode({"x": np.full((1, 2), value, np.float32)}) for value in (1, 2))
    assert first[:-8] == second[:-8] == line
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b" " not in line
    assert orjson.loads(line)["parameters"]["binary_data_output"] is True


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([[1, 2]], np.array([[1, 2]], np.int64)),
        ([[1.5]], np.array([[1.5]])),
        (np.array([1, 2], ">f4"), np.array([1, 2], np.float32)),
        (np.array([1, 2], ">i8"), np.array([1, 2])),
        (np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)), np.arange(6, dtype=np.int16).reshape(2, 3)),
        (np.arange(10, dtype=np.uint8)[::2], np.arange(0, 10, 2, dtype=np.uint8)),
        (["a", "é"], np.array([b"a", "é".encode()], object)),
        ([b"a", b"\xff\x00"], np.array([b"a", b"\xff"], object)),
        (np.array([b"\xff\x00", "t"], object), np.array([b"\xff\x00", b"t"], object)),
        (np.float32(3), np.array(3, np.float32)),
        (True, np.array(True)),
    ],
    ids=repr,
)
def test_what_numpy_makes_of_it_is_what_arrives(given: Any, expected: np.ndarray[Any, Any], binary: bool) -> None:
    found = decoded(encode_job({"x": given}, binary=binary))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros(2, np.complex64), 'input "x" has dtype complex64'),
        (np.array(["2026-01-01"], "M8[D]"), "dtype datetime64"),
        (np.array([1, b"a"], object), 'input "x": element 0 is int; BYTES takes bytes or str'),
        (np.array(["\ud800"], object), "UTF-8"),
    ],
)
def test_what_no_job_can_carry_is_named(given: Any, words: str, binary: bool) -> None:
    with pytest.raises(ContractError, match=words):
        encode_job({"x": given}, binary=binary)


@pytest.mark.parametrize(("given", "words"), [
    (np.zeros(1, np.float16), "FP16 cannot be written in JSON"), (np.array([np.nan]), "NaN or infinity"),
])  # fmt: skip
def test_what_json_cannot_say_is_named(given: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        encode_job({"x": given}, binary=False)
    assert decoded(encode_job({"x": given})).dtype == given.dtype


def test_a_job_needs_an_input() -> None:
    with pytest.raises(ContractError, match="at least one input"):
        encode_job({})


def test_lines_are_kept_for_so_many_shapes_only() -> None:
    encoder = JobEncoder()
    for size in range(1000):
        encoder.encode({"x": np.zeros(size % 500 + 1, np.uint8)})
    assert encoder._lines is not None
    assert len(encoder._lines) <= 256
