"""The decoder's rules: where the JSON ends, whose id counts, deadlines, and what is refused in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header
from penstock_schemas.jobs import Decoded, JobDecoder, JobGroup, Records, RequestedOutput, TensorSpec, encode_job
from penstock_schemas.limits import Limits

X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}
RAW = np.array([[1, 2.5]], "<f4").tobytes()
RAW_X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}


def job(**fields: Any) -> bytes:
    return orjson.dumps({"inputs": [X], **fields})


def tensor(**fields: Any) -> bytes:
    return orjson.dumps({"inputs": [{**X, **fields}]})


def decode(
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: list[Header] | None = None,
    timestamp: int = 1000,
    now: int = 2000,
    limits: Limits | None = None,
) -> Decoded:
    """Decode one record; and again in the company of nine equal ones, which must make no difference."""
    alone = Records.of([value], keys=[key], timestamps_ms=[timestamp], headers={0: headers} if headers else {})
    decoded = JobDecoder(limits).decode(alone, now)
    many = Records.of(
        [value] * 10,
        keys=[key] * 10,
        timestamps_ms=[timestamp] * 10,
        offsets=[0] * 10,
        headers=dict.fromkeys(range(10), headers) if headers else {},
    )
    together = JobDecoder(limits).decode(many, now)
    assert together.ids == decoded.ids * 10
    assert [error for _, error in together.errors] == [error for _, error in decoded.errors] * 10
    assert len(together.expired) == 10 * len(decoded.expired)
    assert [group.request for group in together.groups] == [group.request for group in decoded.groups]
    assert set(together.context.values()) == set(decoded.context.values())
    return decoded


def group_of(decoded: Decoded) -> JobGroup:
    assert decoded.errors == []
    (group,) = decoded.groups
    return group


def error_of(decoded: Decoded) -> JobError:
    assert decoded.groups == []
    ((_, error),) = decoded.errors
    return error


class TestWhereTheJsonEnds:
    def test_json_alone_needs_nothing_else(self) -> None:
        group = group_of(decode(job(model_name="digits")))
        np.testing.assert_array_equal(group.inputs["x"], np.array([[[1, 2.5]]], "<f4"))
        assert group.request.inputs == (TensorSpec("x", "FP32", (1, 2)),)

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n\n", b"  "])
    def test_white_space_may_follow_json(self, end: bytes) -> None:
        group_of(decode(job() + end))

    def test_json_may_be_written_over_several_lines(self) -> None:
        group_of(decode(orjson.dumps({"inputs": [X]}, option=orjson.OPT_INDENT_2)))

    def test_raw_tensors_follow_the_first_line(self) -> None:
        group = group_of(decode(orjson.dumps({"inputs": [RAW_X]}) + b"\n" + RAW))
        assert group.inputs["x"].tolist() == [[[1, 2.5]]]

    def test_raw_tensors_may_look_like_white_space(self) -> None:
        line = orjson.dumps({"inputs": [{"name": "x", "shape": [4], "datatype": "INT8", "parameters": {"binary_data_size": 4}}]})
        assert group_of(decode(line + b"\n    ")).inputs["x"].tolist() == [[32] * 4]
        assert group_of(decode(line + b"\n\n\n\n\n")).inputs["x"].tolist() == [[10] * 4]

    @pytest.mark.parametrize("name", ["Inference-Header-Content-Length", "inference-header-content-length"])
    def test_a_header_gives_the_length_of_the_json(self, name: str) -> None:
        text = orjson.dumps({"inputs": [RAW_X]}, option=orjson.OPT_INDENT_2)
        group = group_of(decode(text + RAW, headers=[(name, str(len(text)).encode())]))
        assert group.inputs["x"].tolist() == [[[1, 2.5]]]

    def test_a_length_beyond_the_value_is_refused(self) -> None:
        error = error_of(decode(job(), headers=[("Inference-Header-Content-Length", b"10000")]))
        assert "10000" in error.message

    def test_without_line_feed_or_header_the_message_says_how_it_is_done(self) -> None:
        error = error_of(decode(orjson.dumps({"inputs": [RAW_X]}) + RAW))
        assert "one line of JSON and the raw tensors" in error.message
        assert "Inference-Header-Content-Length" in error.message

    def test_inline_and_raw_inputs_may_stand_beside_each_other(self) -> None:
        line = orjson.dumps({"inputs": [X, {**RAW_X, "name": "y"}]})
        group = group_of(decode(line + b"\n" + RAW))
        assert group.inputs["x"].tolist() == group.inputs["y"].tolist() == [[[1, 2.5]]]

    @pytest.mark.parametrize("rest", [RAW[:-1], RAW + b"\0", b""])
    def test_raw_bytes_must_add_up(self, rest: bytes) -> None:
        error = error_of(decode(orjson.dumps({"inputs": [RAW_X]}) + b"\n" + rest))
        assert f"{len(rest)} bytes follow" in error.message
        assert "add up to 8" in error.message

    @pytest.mark.parametrize(("value", "words"), [
        (None, "no value (null)"), (b"", "is empty"), (b"\xff\xfe", "no JSON object"), (b"[1]", "a list of 1"),
        (b"null", "it is null"), (b'{"inputs": [', "no JSON object"), (b"{}{}", "no JSON object"),
    ])  # fmt: skip
    def test_what_is_no_request_is_said(self, value: bytes | None, words: str) -> None:
        error = error_of(decode(value))
        assert error.code == ErrorCode.INVALID_JOB
        assert words in error.message


class TestIds:
    @pytest.mark.parametrize(
        ("headers", "body", "key", "expected"),
        [
            ([("penstock-id", b"p"), ("ce_id", b"c")], "b", b"k", b"p"),
            ([("ce_id", b"c")], "b", b"k", b"c"),
            ([("traceparent", b"t")], "b", b"k", b"b"),
            (None, "b", b"k", b"b"),
            (None, "b", b"no id", b"b"),
            (None, None, b"k", b"k"),
            (None, None, None, b"~0-0-1000"),
            (None, None, b"", b"~0-0-1000"),
            ([("ce_id", b"c")], 7, b"k", b"c"),
        ],
    )
    def test_precedence(self, headers: list[Header] | None, body: Any, key: bytes | None, expected: bytes) -> None:
        decoded = decode(job(id=body), key=key, headers=headers)
        group_of(decoded)
        assert decoded.ids == [expected]

    def test_binary_jobs_have_their_id_in_the_key(self) -> None:
        decoded = decode(encode_job({"x": np.zeros((1, 2), "f4")}), key=b"k")
        group_of(decoded)
        assert decoded.ids == [b"k"]

    def test_a_line_that_holds_an_id_gives_it_to_all_its_jobs(self) -> None:
        decoded = decode(orjson.dumps({"id": "b", "inputs": [RAW_X]}) + b"\n" + RAW, key=b"k")
        group_of(decoded)
        assert decoded.ids == [b"b"]

    @pytest.mark.parametrize(("headers", "body", "key", "where"), [
        ([("penstock-id", b"~p")], "b", b"k", "penstock-id"), ([("ce_id", b"a b")], "b", b"k", "ce_id"),
        (None, "~b", b"k", "id is"), (None, "", b"k", "id is"), (None, 7, b"k", "id is 7"), (None, None, b"a b", "record key"),
        (None, None, b"~k", "record key"), (None, "x" * 129, None, "id is"),
    ])  # fmt: skip
    def test_a_bad_id_is_an_invalid_job_under_a_derived_one(
        self, headers: list[Header] | None, body: Any, key: bytes | None, where: str
    ) -> None:
        decoded = decode(job(id=body), key=key, headers=headers)
        error = error_of(decoded)
        assert error.code == ErrorCode.INVALID_JOB
        assert where in error.message
        assert "1 to 128 characters" in error.message
        assert decoded.ids == [b"~0-0-1000"]

    def test_an_unreadable_job_keeps_its_key(self) -> None:
        decoded = decode(b"rubbish", key=b"k")
        error_of(decoded)
        assert decoded.ids == [b"k"]


class TestDeadlines:
    @pytest.mark.parametrize("binary", [True, False])
    def test_timeout_counts_from_log_append_time(self, binary: bool) -> None:
        value = encode_job({"x": np.zeros((1, 2), "f4")}, timeout_us=500_000, reply_to="me", binary=binary)
        assert decode(value, timestamp=1000, now=1500).expired == []
        late = decode(value, timestamp=1000, now=1501)
        assert late.expired == [0]
        assert late.groups == []
        assert late.context[0].reply_to == "me"

    def test_only_the_late_ones_expire(self) -> None:
        value = encode_job({"x": np.zeros((1, 2), "f4")}, timeout_us=1000)
        stamps = [1000 if index % 3 else 0 for index in range(30)]
        decoded = JobDecoder().decode(Records.of([value] * 30, timestamps_ms=stamps), now_ms=1001)
        assert decoded.expired == list(range(0, 30, 3))
        assert decoded.groups[0].indices.tolist() == [index for index in range(30) if index % 3]
        assert decoded.groups[0].inputs["x"].shape == (20, 1, 2)

    def test_ce_deadline_wins(self) -> None:
        value = job(parameters={"timeout": 1})
        header: list[Header] = [("ce_deadline", b"1970-01-01T00:00:02Z")]
        assert decode(value, now=2000, headers=header).expired == []
        assert decode(value, now=2001, headers=header).expired == [0]

    def test_it_is_judged_before_values_are_looked_at(self) -> None:
        value = orjson.dumps({"inputs": [{**X, "data": "rubbish"}], "parameters": {"timeout": 1}})
        assert decode(value).expired == [0]

    def test_without_log_append_time_a_timeout_cannot_be_judged(self) -> None:
        group_of(decode(job(parameters={"timeout": 1}), timestamp=-1))

    def test_zero_is_no_timeout(self) -> None:
        assert group_of(decode(job(parameters={"timeout": 0}))).request.timeout_us is None


class TestHeadersAndRequests:
    def test_headers_say_more_than_the_body(self) -> None:
        headers: list[Header] = [
            ("ce_subject", b"digits"), ("ce_replyto", b"header"), ("penstock-generation", b"2"), ("penstock-attempt", b"3"),
        ]  # fmt: skip
        request = group_of(decode(job(parameters={"reply_to": "body"}), headers=headers)).request
        assert (request.model_name, request.reply_to, request.generation, request.attempt) == ("digits", "header", 2, 3)

    def test_the_bodys_model_comes_before_the_subject(self) -> None:
        assert group_of(decode(job(model_name="m"), headers=[("ce_subject", b"s")])).request.model_name == "m"

    def test_empty_texts_are_as_good_as_none(self) -> None:
        request = group_of(decode(job(model_name="", model_version="", outputs=[], parameters=None))).request
        assert (request.model_name, request.model_version, request.outputs) == (None, None, ())

    def test_outputs_and_parameters_are_read(self) -> None:
        outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": True, "content_type": "base64"}}]
        parameters = {"signature_name": "s", "binary_data_output": True, "timeout": 9_000_000_000, "unknown": [1]}
        request = group_of(decode(job(model_version="3", outputs=outputs, parameters=parameters, more=1))).request
        assert request.outputs == (RequestedOutput("a"), RequestedOutput("b", binary=True, content_type="base64"))
        assert (request.signature, request.binary_output, request.timeout_us) == ("s", True, 9_000_000_000)

    def test_a_broken_job_still_tells_whom_to_answer(self) -> None:
        decoded = decode(orjson.dumps({"model_name": "m", "inputs": 7, "parameters": {"reply_to": "me", "timeout": "x"}}))
        error_of(decoded)
        assert decoded.context[0].reply_to == "me"
        assert decoded.context[0].model_name == "m"

    def test_headers_are_known_where_the_body_is_not(self) -> None:
        decoded = decode(b"rubbish", headers=[("ce_replyto", b"me"), ("penstock-attempt", b"2"), ("penstock-id", b"p")])
        error_of(decoded)
        assert (decoded.context[0].reply_to, decoded.context[0].attempt, decoded.ids) == ("me", 2, [b"p"])


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
    (job(inputs=[{**X, "name": None}]), "inputs[0] has no name"),
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
    (tensor(datatype="BYTES", data=["a", "?"], parameters={"content_type": "base64"}), 'element 0 of data is "a", which is not'),
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
