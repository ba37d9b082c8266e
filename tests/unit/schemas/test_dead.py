"""Dead letters: the job's bytes untouched, what happened in front of its own headers, and never too large."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from penstock_schemas.dead import build_gap_letter, build_letter, build_redriven, parse_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header
from penstock_schemas.retries import Tries, own_headers

ERROR = JobError(ErrorCode.MODEL_ERROR, "the model refused it: é")
FACTS: dict[str, Any] = {
    "job_id": b"a1",
    "error": ERROR,
    "worker": "host-7",
    "time_ms": 1_700_000_001_000,
}


def tries(original: list[Header]) -> Tries:
    """A job of generation 1 at its second try, which has just failed."""
    known = Tries("penstock.jobs-2-17", 1_700_000_000_000, 2, 1, original=original)
    return known.failed(ERROR, time_ms=1_700_000_000_500, worker="host-7", model="m", version="3")


def test_a_letter_holds_the_jobs_bytes_and_what_happened() -> None:
    original: list[Header] = [("traceparent", b"t"), ("odd", None), ("odd", b"\xff"), ("penstock-error", b"the job's own")]
    letter = build_letter(b"\xffbody", max_bytes=10_000, tries=tries(original), **FACTS)
    assert letter.value == b"\xffbody"
    assert letter.key == b"a1"
    assert letter.headers[-4:] == original
    facts = parse_letter(letter.headers)
    assert (facts.id, facts.origin, facts.origin_timestamp_ms) == ("a1", "penstock.jobs-2-17", 1_700_000_000_000)
    assert (facts.attempt, facts.generation, facts.worker) == (2, 1, "host-7")
    assert (facts.error_code, facts.error) == ("model_error", "the model refused it: é")
    assert facts.time == "2023-11-14T22:13:21.000Z"
    assert (facts.model, facts.model_version, facts.first_failure) == ("m", "3", "2023-11-14T22:13:20.500Z")
    assert [failure["code"] for failure in facts.failures] == ["model_error"]
    assert facts.identity == "penstock.jobs-2-17/1/2"
    assert own_headers(letter.headers) == original
    assert (facts.digest, facts.size, facts.gap) == (None, None, None)


def test_a_body_that_is_too_large_gives_way_to_its_digest() -> None:
    body = b"x" * 10_000
    original: list[Header] = [("traceparent", b"t")]
    letter = build_letter(body, max_bytes=10_000, tries=tries(original), **FACTS)
    assert letter.value == b""
    assert letter.headers[-1:] == original
    facts = parse_letter(letter.headers)
    assert facts.digest == hashlib.sha256(body).hexdigest()
    assert facts.size == 10_000
    assert facts.origin == "penstock.jobs-2-17"


def test_headers_that_are_too_large_give_way_too() -> None:
    letter = build_letter(b"body", max_bytes=4000, tries=tries([("big", b"x" * 5000)] * 3), **FACTS)
    assert letter.size <= 4000
    assert ("penstock-dropped-headers", b"3") in letter.headers
    assert parse_letter(letter.headers).id == "a1"


def test_a_gap_says_which_offsets_nobody_read() -> None:
    letter = build_gap_letter(
        topic="penstock.jobs", partition=3, first=10, last=19, reason="they are damaged", worker="w", time_ms=0
    )
    assert letter.value == b""
    facts = parse_letter(letter.headers)
    assert facts.gap == (10, 19)
    assert facts.origin == "penstock.jobs-3-10"
    assert facts.error is not None
    assert "offsets 10 to 19 of penstock.jobs, partition 3" in facts.error


def test_a_null_is_told_from_an_empty_value() -> None:
    assert parse_letter(build_letter(None, max_bytes=10_000, tries=tries([]), **FACTS).headers).is_null
    assert not parse_letter(build_letter(b"", max_bytes=10_000, tries=tries([]), **FACTS).headers).is_null


def test_a_redrive_is_recorded_and_no_letter() -> None:
    facts = parse_letter(build_redriven("penstock.jobs-2-17/1/2", by="ops@host", time_ms=0, generation=2).headers)
    assert (facts.redriven, facts.redriven_by, facts.generation) == ("penstock.jobs-2-17/1/2", "ops@host", 2)
    assert (facts.origin, facts.identity) == (None, None)


@pytest.mark.parametrize("value", [None, b"", b"x", b"1-", b"-5", b"\xff", b"1" * 5000, "٣".encode()])
def test_rubbish_in_headers_counts_as_absent(value: bytes | None) -> None:
    names = ("penstock-gap", "penstock-size", "penstock-attempt", "penstock-generation", "penstock-origin-timestamp")
    facts = parse_letter([(name, value) for name in names])
    assert (facts.gap, facts.size, facts.attempt, facts.generation, facts.origin_timestamp_ms) == (None, None, 1, 0, None)
