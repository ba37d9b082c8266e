"""The generated documents say what the code does, and the files in docs/schemas are the code's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.strategies import IDS, jobs, saids

from penstock_schemas.dead import build_gap_letter, build_letter
from penstock_schemas.documents import asyncapi_document, documents, job_schema, main, outcome_schema, render
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import build_job_headers
from penstock_schemas.jobs import JobDecoder, Records, Request, encode_job
from penstock_schemas.names import DEFAULT_TIERS, Names
from penstock_schemas.outcomes import Timings, encode_failed, encode_succeeded
from penstock_schemas.retries import Tries, build_retry_headers

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
JOB = jsonschema.Draft7Validator(job_schema())
OUTCOME = jsonschema.Draft7Validator(outcome_schema())


@pytest.mark.parametrize("name", documents())
def test_the_files_are_the_codes_own(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == render(documents()[name]), "run: python -m penstock_schemas.documents docs/schemas"


def test_there_are_no_other_files() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(documents())


def test_writing_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "asyncapi.json").is_file()
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("schema", [job_schema(), outcome_schema()], ids=["job", "outcome"])
def test_the_schemas_are_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)


@settings(max_examples=50)
@given(data=st.data(), binary=st.booleans(), said=saids(), job_id=st.none() | IDS)
def test_jobs_are_valid(data: st.DataObject, binary: bool, said: dict[str, Any], job_id: str | None) -> None:
    value = encode_job(data.draw(jobs(in_json=not binary)), **said, binary=binary, job_id=job_id)
    JOB.validate(orjson.loads(value.split(b"\n")[0]))


@pytest.mark.parametrize(
    "broken",
    [
        {"inputs": []},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]},
        {"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": [1]}]},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BF16", "data": [1]}]},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], "id": "~a"},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], "model_version": 3},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], "parameters": {"timeout": -1}},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], "parameters": {"reply_to": "a b"}},
    ],
)
def test_what_the_decoder_refuses_the_schema_refuses(broken: dict[str, Any]) -> None:
    assert JobDecoder().decode(Records.of([orjson.dumps(broken)]), now_ms=0).errors
    assert not JOB.is_valid(broken)


@pytest.mark.parametrize("binary", [True, False])
def test_results_are_valid(binary: bool) -> None:
    values = encode_succeeded(
        Request(binary_output=binary, reply_to="me"),
        model_name="m",
        model_version="3",
        ids=[b"a", b"~0-1-2"],
        topic="penstock.jobs",
        partitions=np.zeros(2, np.int32),
        offsets=np.arange(2),
        outputs={"y": np.ones((2, 1), np.float32), "s": np.array([[b"text"], [b"\xff"]], object)},
        queue_us=np.zeros(2, np.int64),
        decode_us=0,
        batch_wait_us=np.zeros(2, np.int64),
        infer_us=0,
        encode_us=lambda: 0,
        batch_rows=3,
    )
    for value in values:
        assert isinstance(value, bytes)
        OUTCOME.validate(orjson.loads(value.split(b"\n")[0]))


@pytest.mark.parametrize("code", ErrorCode)
def test_failures_are_valid(code: ErrorCode) -> None:
    error = JobError(code, "a sentence")
    value = encode_failed(id=b"~0-1-2", status="failed", error=error, origin="penstock.jobs-0-1", timings=Timings())
    OUTCOME.validate(orjson.loads(value))
    assert not OUTCOME.is_valid({**orjson.loads(value), "error_code": "another"})
    assert not OUTCOME.is_valid({**orjson.loads(value), "status": "succeeded"})


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi_document()
    references = list(_references(document))
    assert references
    for reference in references:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert isinstance(found, dict)


def test_it_lists_every_topic_that_there_is() -> None:
    channels = asyncapi_document()["channels"].values()
    addresses = {channel["address"].format(fleet="penstock", queue="slow") for channel in channels}
    names = Names("penstock")
    retries = {names.retry(tier) for tier in DEFAULT_TIERS}
    assert addresses == {names.jobs(), names.jobs("slow"), names.outcomes, names.dead, *retries}
    for channel in channels:
        assert {f"{{{name}}}" for name in channel["parameters"]} == {
            part for part in channel["address"].split(".") if "{" in part
        }


def test_our_headers_are_valid() -> None:
    messages = asyncapi_document()["components"]["messages"]
    built = build_job_headers(
        job_id="a",
        time_ms=0,
        model="m",
        deadline_ms=0,
        reply_to="c",
        content_length=3,
        generation=1,
        attempt=2,
        traceparent="t",
    )
    _check_headers(messages["job"]["headers"], built)
    error = JobError(ErrorCode.MODEL_ERROR, "a sentence")
    tries = Tries("t-0-1", 0, 2, 1, 1, 30.0, original=[("big", b"x" * 2000)])
    tries = tries.failed(error, time_ms=0, worker="w", model="m", version="1")
    retry = build_retry_headers(replace(tries, original=[]), job_id=b"a", error=error, worker="w", due_ms=0)
    _check_headers(messages["job"]["headers"], retry)
    letter = build_letter(
        b"x" * 5000, max_bytes=2000, job_id=b"a", tries=tries, error=error, worker="w", time_ms=0, evidence="e", batch_rows=3,
    )  # fmt: skip
    _check_headers(messages["letter"]["headers"], letter.headers)
    gap = build_gap_letter(topic="t", partition=0, first=1, last=2, reason="r", worker="w", time_ms=0)
    _check_headers(messages["letter"]["headers"], gap.headers)


def _check_headers(schema: dict[str, Any], headers: list[Any]) -> None:
    said = {name: value.decode() for name, value in headers}
    assert set(said) <= set(schema["properties"])
    jsonschema.Draft7Validator(schema).validate(said)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
