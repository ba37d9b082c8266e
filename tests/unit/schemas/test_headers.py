"""Headers: any case, repeats, nulls, and what is wrong in them."""

from __future__ import annotations

import pytest

from penstock_schemas.headers import Header, build_job_headers, parse_job_headers, parse_rfc3339, rfc3339


def test_names_are_read_in_any_case_and_the_first_value_counts() -> None:
    told = parse_job_headers([
        ("CE_Id", None), ("cE_iD", b"first"), ("ce_id", b"second"), ("inference-header-CONTENT-length", b"12"),
    ])  # fmt: skip
    assert told.id == b"first"
    assert told.content_length == 12
    assert told.error is None


def test_penstock_id_comes_before_ce_id() -> None:
    assert parse_job_headers([("ce_id", b"event"), ("penstock-id", b"job")]).id == b"job"


def test_what_is_built_is_read_back() -> None:
    built = build_job_headers(
        job_id="a1",
        source="me",
        time_ms=1_700_000_000_123,
        model="digits",
        deadline_ms=1_700_000_060_000,
        reply_to="client",
        content_length=99,
        generation=2,
        attempt=3,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="a=b",
    )
    told = parse_job_headers(built)
    assert (told.id, told.deadline_ms, told.reply_to, told.content_length) == (b"a1", 1_700_000_060_000, "client", 99)
    assert (told.subject, told.generation, told.attempt, told.tracestate) == ("digits", 2, 3, "a=b")
    assert told.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert told.error is None


def test_nothing_to_say_is_no_headers() -> None:
    assert build_job_headers() == []


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (("ce_id", b"~a"), 'ce_id is "~a"'),
        (("penstock-id", b""), 'penstock-id is ""'),
        (("ce_deadline", b"tomorrow"), "RFC 3339"),
        (("ce_deadline", b"2026-13-01T00:00:00Z"), "RFC 3339"),
        (("ce_deadline", b"2026-01-31T12:00:00"), "RFC 3339"),
        (("ce_replyto", b"a b"), "ce_replyto"),
        (("Inference-Header-Content-Length", b"-1"), "inference-header-content-length"),
        (("Inference-Header-Content-Length", b"9" * 5000), "inference-header-content-length"),
        (("penstock-attempt", b"one"), "penstock-attempt"),
        (("penstock-generation", b"99999999999"), "penstock-generation"),
        (("content-type", b"application/cloudevents+json; charset=utf-8"), "structured mode"),
        (("ce_id", b"\xff\xfe"), "ce_id"),
    ],
)
def test_what_is_wrong_is_named(header: Header, words: str) -> None:
    told = parse_job_headers([header, ("traceparent", b"t")])
    assert told.error is not None
    assert words in told.error.message
    assert told.traceparent == "t"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("2026-01-31t12:00:00.123456789z", 1_769_860_800_123),
        ("0001-01-01T00:00:00+23:59", None),
        ("2026-01-31T12:00:60Z", None),
        ("٢٠٢٦-01-31T12:00:00Z", None),
    ],
)
def test_rfc_3339(text: str, milliseconds: int | None) -> None:
    found = parse_rfc3339(text)
    assert found == milliseconds or (milliseconds is None and (found is None or found < 0))


def test_times_are_written_in_utc() -> None:
    assert rfc3339(1_769_860_800_123) == "2026-01-31T12:00:00.123Z"
