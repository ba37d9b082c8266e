"""The decoder's rules: where the JSON ends, whose id counts, deadlines, and what headers say."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from tests.unit.schemas.decoding import RAW, RAW_X, X, decode, error_of, group_of, job

from penstock_schemas.errors import ErrorCode
from penstock_schemas.headers import Header
from penstock_schemas.jobs import JobDecoder, Records, RequestedOutput, TensorSpec, encode_job


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
        line = orjson.dumps(
            {"inputs": [{"name": "x", "shape": [4], "datatype": "INT8", "parameters": {"binary_data_size": 4}}]}
        )
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
