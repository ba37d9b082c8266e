"""Owns the record headers: CloudEvents' Kafka binding in binary mode, W3C trace context, and penstock's own.

Sources: CloudEvents 1.0.2 Kafka protocol binding (``ce_`` names, ``content-type``); the Open Inference Protocol's binary
extension (``Inference-Header-Content-Length``). Headers are optional. Names are read in any case; of a repeated name the
first that has a value counts, because retries and letters put their own in front of the job's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.ids import ID_RULE, is_derived_id_bytes, is_valid_id_bytes
from penstock_schemas.names import CLIENT_ID_PATTERN
from penstock_schemas.text import shorten

Header = tuple[str, bytes | None]

PENSTOCK_ID: Final = "penstock-id"
PENSTOCK_GENERATION: Final = "penstock-generation"
PENSTOCK_ATTEMPT: Final = "penstock-attempt"
UNREADABLE: Final = "penstock-unreadable"
"""Stands alone in place of headers that a Kafka client could not hand over."""
CONTENT_LENGTH: Final = "Inference-Header-Content-Length"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
JOB_TYPE: Final = "penstock.job"
CONTENT_TYPE: Final = "application/octet-stream"
JSON_CONTENT_TYPE: Final = "application/json"

MAX_COUNT: Final = 2**31 - 1
"""Largest generation or attempt."""

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class JobHeaders:
    """What a job's headers say. ``error`` is the first thing wrong in them; then the rest is what could still be read.

    Not frozen, because frozen ones take three times as long to make, and a traced job needs one.
    """

    id: bytes | None = None
    deadline_ms: int | None = None
    reply_to: str | None = None
    content_length: int | None = None
    subject: str | None = None
    generation: int = 0
    attempt: int = 1
    traceparent: str | None = None
    tracestate: str | None = None
    error: JobError | None = None


def first_values(headers: Iterable[Header]) -> dict[str, bytes]:
    """Headers by lower-case name: of each name the first value that is not None."""
    found: dict[str, bytes] = {}
    for name, value in headers:
        if value is not None:
            found.setdefault(name.lower(), value)
    return found


def parse_job_headers(headers: Iterable[Header]) -> JobHeaders:
    """Read a job's headers. Never raises: what is wrong is in the answer's ``error``."""
    found = first_values(headers)
    problems: list[str] = []
    if UNREADABLE in found:
        problems.append("names must be UTF-8, and one of this record's is not")
    job_id = found.get(PENSTOCK_ID, found.get("ce_id"))
    kept = PENSTOCK_ID in found and is_derived_id_bytes(found[PENSTOCK_ID])  # a retry or redrive of a job that has no other
    if job_id is not None and not kept and not is_valid_id_bytes(job_id):
        problems.append(f"{PENSTOCK_ID if PENSTOCK_ID in found else 'ce_id'} is {shorten(job_id)}; an id is {ID_RULE}")
        job_id = None
    generation = _count(found, PENSTOCK_GENERATION, 0, problems)
    attempt = _count(found, PENSTOCK_ATTEMPT, 1, problems)
    content_length = _count(found, CONTENT_LENGTH.lower(), 0, problems) if CONTENT_LENGTH.lower() in found else None
    deadline_ms = _deadline(found.get("ce_deadline"), problems)
    reply_to = _text(found.get("ce_replyto"))
    if reply_to is not None and not CLIENT_ID_PATTERN.fullmatch(reply_to):
        problems.append(f"ce_replyto is {shorten(reply_to)}; a client id is 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
        reply_to = None
    if found.get("content-type", b"").lower().startswith(b"application/cloudevents"):
        problems.append(
            "content-type says that the value is a CloudEvent in structured mode; write it in binary mode, with ce_ headers"
        )
    subject = _text(found.get("ce_subject"))
    return JobHeaders(
        id=job_id,
        deadline_ms=deadline_ms,
        reply_to=reply_to,
        content_length=content_length,
        subject=subject if subject and len(subject) <= 128 else None,
        generation=generation,
        attempt=max(attempt, 1),
        traceparent=_text(found.get(TRACEPARENT)),
        tracestate=_text(found.get(TRACESTATE)),
        error=JobError(ErrorCode.INVALID_JOB, f"header {problems[0]}") if problems else None,
    )


def build_job_headers(
    *,
    job_id: str | None = None,
    source: str | None = None,
    time_ms: int | None = None,
    model: str | None = None,
    deadline_ms: int | None = None,
    reply_to: str | None = None,
    content_length: int | None = None,
    generation: int = 0,
    attempt: int = 1,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> list[tuple[str, bytes]]:
    """Headers for a job: only those that are given; times are Unix ms. ``job_id`` makes it a CloudEvent of ``source``."""
    texts: dict[str, str | None] = {}
    if job_id is not None:
        texts |= {"ce_specversion": "1.0", "ce_id": job_id, "ce_type": JOB_TYPE, "ce_source": source or "penstock"}
        texts |= {"content-type": CONTENT_TYPE if content_length is not None else JSON_CONTENT_TYPE}
    texts |= {
        "ce_time": None if time_ms is None else rfc3339(time_ms),
        "ce_subject": model,
        "ce_deadline": None if deadline_ms is None else rfc3339(deadline_ms),
        "ce_replyto": reply_to,
        CONTENT_LENGTH: None if content_length is None else str(content_length),
        PENSTOCK_GENERATION: str(generation) if generation else None,
        PENSTOCK_ATTEMPT: str(attempt) if attempt > 1 else None,
        TRACEPARENT: traceparent,
        TRACESTATE: tracestate,
    }
    return [(name, text.encode()) for name, text in texts.items() if text is not None]


def rfc3339(time_ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC, e.g. ``2026-01-31T12:00:00.000Z``."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> int | None:
    """RFC 3339 as Unix milliseconds (any offset, fractions cut to ms), or None where it is none."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")


def _count(found: dict[str, bytes], name: str, absent: int, problems: list[str]) -> int:
    raw = found.get(name)
    if raw is None:
        return absent
    # Ten digits at most: int() itself refuses, by raising, what is longer than some thousands.
    if not raw.isdigit() or len(raw) > 10 or int(raw) > MAX_COUNT:
        problems.append(f"{name} is {shorten(raw)}; it must be a whole number from 0 to {MAX_COUNT}")
        return absent
    return int(raw)


def _deadline(raw: bytes | None, problems: list[str]) -> int | None:
    if raw is None:
        return None
    deadline = parse_rfc3339(raw.decode("utf-8", "replace"))
    if deadline is None:
        problems.append(f"ce_deadline is {shorten(raw)}; it must be RFC 3339 in UTC, such as 2026-01-31T12:00:00Z")
    return deadline
