"""What the decoder takes and refuses as values, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from tests.unit.schemas.decoding import RAW, RAW_X, X, decode, error_of, group_of, job, tensor

from penstock_schemas.errors import ErrorCode
from penstock_schemas.limits import Limits

REFUSED = [
    (job(model_name=7), "model_name is 7"),
    (job(model_name="x" * 129), "model_name is"),
    (job(model_version=3), "model_version is 3"),
    (job(parameters=[]), "parameters is a list of 0"),
    (job(parameters={"timeout": -1}), "parameters.timeout is -1"),
    (job(parameters={"timeout": 1.5}), "parameters.timeout is 1.5"),
    (job(parameters={"timeout": True}), "parameters.timeout is true"),
    (job(parameters={"reply_to": "a b"}), "parameters.reply_to"),
    (job(parameters={"binary_data_output": 1}), "parameters.binary_data_output is 1"),
    (job(parameters={"signature_name": []}), "parameters.signature_name"),
    (job(outputs={}), "outputs is an object"),
    (job(outputs=[{}]), "outputs[0] has no name"),
    (job(outputs=["a"]), 'outputs[0] is "a"'),
    (job(outputs=[{"name": "a"}, {"name": "a"}]), '"a" is there twice'),
    (job(outputs=[{"name": "a", "parameters": {"classification": 3}}]), "classification"),
    (job(outputs=[{"name": "a", "parameters": {"content_type": "png"}}]), "base64"),
    (job(outputs=[{"name": "a", "parameters": {"binary_data": "yes"}}]), "binary_data"),
    (job(inputs=[]), "at least one tensor"),
    (job(inputs=None), "at least one tensor"),
    (job(inputs={"x": 1}), "inputs is an object"),
    (job(inputs=[X, X]), '"x" is there twice'),
    (job(inputs=[7]), "inputs[0] is 7"),
    (job(inputs=[X, {**X, "name": None}]), "inputs[1] has no name"),
    (tensor(name=3), "inputs[0].name is 3"),
    (tensor(datatype="BF16"), 'input "x": datatype is "BF16"; it must be one of BOOL'),
    (tensor(datatype=None), "datatype is null"),
    (tensor(shape=None), 'input "x": shape is null'),
    (tensor(shape=[1.0, 2]), "shape is [1.0, 2]"),
    (tensor(shape=[-1, 2]), "shape is [-1, 2]"),
    (tensor(shape=[True, 2]), "shape is"),
    (tensor(shape=[0, 2], data=[]), "no rows"),
    (tensor(shape=[1, 3]), 'input "x": data has 2 elements where the shape [1, 3] says 3'),
    (tensor(data=None), "neither data nor"),
    (tensor(data="1,2"), 'input "x": data is "1,2"'),
    (tensor(data=[1, None]), "element 1 of data is null; FP32 takes numbers"),
    (tensor(data=[True, 2]), "element 0 of data is true"),
    (tensor(data=["1", 2]), 'element 0 of data is "1"'),
    (tensor(data=[[1], [2]]), "data has 2 rows where the shape [1, 2] says 1"),
    (tensor(data=[[1, 2, 3]]), "data has 3 entries at depth 1"),
    (tensor(data=[[1, [2]]]), "element 1 of data is a list of 1"),
    (tensor(shape=[2, 1], data=[[1], 2]), "nested unevenly"),
    (tensor(datatype="INT32", data=[1, 2.0]), "element 1 of data is 2.0; INT32 takes whole numbers"),
    (tensor(datatype="INT32", data=[1, True]), "element 1 of data is true"),
    (tensor(datatype="UINT8", data=[1, 256]), "element 1 of data is 256; UINT8 takes whole numbers from 0 to 255"),
    (tensor(datatype="UINT8", data=[-1, 2]), "element 0 of data is -1"),
    (tensor(datatype="INT64", data=[2**63, 2]), "element 0 of data is 9223372036854775808"),
    (b'{"inputs":[{"name":"x","shape":[1],"datatype":"UINT64","data":[18446744073709551616]}]}', "element 0 of data is 1.8446"),
    (tensor(datatype="BOOL", data=[0, 1]), "element 0 of data is 0; BOOL takes true and false"),
    (tensor(datatype="FP16"), "FP16 cannot be written in JSON"),
    (tensor(datatype="BYTES", data=[1, "a"]), "element 0 of data is 1; BYTES takes strings"),
    (
        tensor(datatype="BYTES", data=["a", "?"], parameters={"content_type": "base64"}),
        'element 0 of data is "a", which is not',
    ),
    (tensor(parameters={"binary_data_size": 8}), "both data and parameters.binary_data_size"),
    (tensor(parameters={"shared_memory_region": "r"}), "shared_memory_region"),
    (tensor(parameters=3), 'input "x": parameters is 3'),
    (job(inputs=[{**RAW_X, "parameters": {"binary_data_size": 7}}]), "takes 8 bytes"),
    (job(inputs=[{**RAW_X, "parameters": {"binary_data_size": "8"}}]), 'binary_data_size is "8"'),
    (job(inputs=[{**RAW_X, "parameters": {"binary_data_size": -8}}]), "binary_data_size is -8"),
    (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}', "no JSON object"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_refused_is_named(value: bytes, words: str) -> None:
    error = error_of(decode(value))
    assert error.code == ErrorCode.INVALID_JOB
    assert words in error.message


class TestValues:
    @pytest.mark.parametrize("data", [[[1, 2], [3, 4]], [1, 2, 3, 4], [1.0, 2, 3.0, 4]])
    def test_data_may_be_flat_or_nested(self, data: list[Any]) -> None:
        assert group_of(decode(tensor(shape=[2, 2], data=data))).inputs["x"].tolist() == [[[1, 2], [3, 4]]]

    @pytest.mark.parametrize("data", [5, [5]])
    def test_a_scalar_may_be_bare(self, data: Any) -> None:
        found = group_of(decode(tensor(shape=[], data=data))).inputs["x"]
        assert found.tolist() == [5]

    def test_what_is_too_large_for_fp32_becomes_infinite_for_the_engine_to_see(self) -> None:
        assert group_of(decode(tensor(data=[1e39, -1e39]))).inputs["x"].tolist() == [[[np.inf, -np.inf]]]

    def test_true_elsewhere_does_not_let_true_in_as_a_number(self) -> None:
        group_of(decode(job(parameters={"binary_data_output": True})))
        assert "true" in error_of(decode(tensor(data=[1, True]))).message

    def test_bytes_are_text_or_base64(self) -> None:
        text = group_of(decode(tensor(datatype="BYTES", data=["é", ""]))).inputs["x"]
        assert text.tolist() == [[["é".encode(), b""]]]
        coded = tensor(datatype="BYTES", data=["/w==", ""], parameters={"content_type": "base64"})
        assert group_of(decode(coded)).inputs["x"].tolist() == [[[b"\xff", b""]]]

    @pytest.mark.parametrize(("raw", "words"), [
        (b"\1\0\0\0a\0\0", "cannot hold"), (b"\1\0\0\0a\5\0\0\0b", "claims 5 bytes where 1 are left"),
        (b"\1\0\0\0a\1\0\0\0bc", "1 bytes are left over"), (b"\5\0\0\0a\0\0\0\0", "within the length of element 1"),
        (b"\xff\xff\xff\xff\0\0\0\0", "4294967295 bytes"),
    ])  # fmt: skip
    def test_broken_raw_strings_are_named(self, raw: bytes, words: str) -> None:
        entry = {**RAW_X, "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
        error = error_of(decode(orjson.dumps({"inputs": [entry]}) + b"\n" + raw))
        assert 'input "x"' in error.message
        assert words in error.message

    def test_a_raw_bool_is_0_or_1(self) -> None:
        entry = {**RAW_X, "datatype": "BOOL", "parameters": {"binary_data_size": 2}}
        line = orjson.dumps({"inputs": [entry]}) + b"\n"
        assert group_of(decode(line + b"\0\1")).inputs["x"].tolist() == [[[False, True]]]
        assert "holds the byte 7" in error_of(decode(line + b"\0\7")).message


LIMITS = Limits(record_bytes=400, header_bytes=150, rows=3, tensors=2, rank=2, elements=12, string_bytes=5)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (job(more="x" * 400), "bytes; at most 400 are allowed"),
        (orjson.dumps({"inputs": [RAW_X], "more": "x" * 100}) + b"\n" + RAW, "before the raw tensors has"),
        (tensor(shape=[4, 1], data=[1] * 4), "4 rows; at most 3"),
        (tensor(shape=[1, 1, 1], data=[1]), "3 dimensions; at most 2"),
        (tensor(shape=[3, 2**63], data=[]), "at most 12 elements"),
        (tensor(shape=[3, 5], data=[]), "at most 12 elements"),
        (job(inputs=[{"name": name} for name in "abc"]), "inputs lists 3 tensors; at most 2"),
        (job(outputs=[{"name": name} for name in "abc"]), "outputs lists 3 tensors; at most 2"),
    ],
)
def test_limits_are_checked_before_values(value: bytes, words: str) -> None:
    error = error_of(decode(value, limits=LIMITS))
    assert error.code == ErrorCode.TOO_LARGE
    assert words in error.message


def test_an_empty_dimension_does_not_hide_an_absurd_one() -> None:
    error = error_of(decode(tensor(shape=[1, 0, 2**62, 2**62], data=[])))
    assert error.code == ErrorCode.TOO_LARGE


@pytest.mark.parametrize("parameters", [{}, {"content_type": "base64"}])
def test_long_strings_are_refused(parameters: dict[str, Any]) -> None:
    value = tensor(shape=[1], datatype="BYTES", data=["A" * 16], parameters=parameters)
    assert "at most 5 bytes" in error_of(decode(value, limits=LIMITS)).message
