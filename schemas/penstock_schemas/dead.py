"""Owns dead letters: records kept for people to look at, mend and redrive.

A letter's value is the job's own bytes, untouched; what happened stands in headers in front of the job's own, which are
untouched, too. A letter is identified by its job's origin, generation and attempt: the same failure told twice is one letter.

The topic also holds records of who redrove which letter; those have no body and the header ``penstock-redriven``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from penstock_schemas.errors import JobError
from penstock_schemas.headers import PENSTOCK_ATTEMPT, PENSTOCK_GENERATION, PENSTOCK_ID, Header, first_values, rfc3339
from penstock_schemas.retries import (
    ERROR,
    ERROR_CODE,
    FAILURES,
    FIRST_FAILURE,
    MODEL,
    MODEL_VERSION,
    ORIGIN,
    ORIGIN_TIMESTAMP,
    OWN_HEADERS,
    WORKER,
    Tries,
    build_tries_headers,
    encode_headers,
    number,
    parse_failures,
)

TIME: Final = "penstock-time"
EVIDENCE: Final = "penstock-evidence"
BATCH_ROWS: Final = "penstock-batch-rows"
DIGEST: Final = "penstock-digest"
SIZE: Final = "penstock-size"
NULL: Final = "penstock-null"
"""The job's record had no value (a null); the letter's is empty."""
DROPPED_HEADERS: Final = "penstock-dropped-headers"
GAP: Final = "penstock-gap"
REDRIVEN: Final = "penstock-redriven"
"""In a record of the dead-letter topic: the identity of the letter that was redriven. In a job's: the same."""
REDRIVEN_BY: Final = "penstock-redriven-by"
REDRIVEN_REASON: Final = "penstock-redriven-reason"

LETTER_HEADERS: Final = frozenset(
    {PENSTOCK_ID, PENSTOCK_GENERATION, PENSTOCK_ATTEMPT, ORIGIN, ORIGIN_TIMESTAMP, ERROR_CODE, ERROR, WORKER, MODEL}
    | {
        MODEL_VERSION,
        FIRST_FAILURE,
        FAILURES,
        OWN_HEADERS,
        TIME,
        EVIDENCE,
        BATCH_ROWS,
        DIGEST,
        SIZE,
        NULL,
        DROPPED_HEADERS,
        GAP,
    }
    | {REDRIVEN, REDRIVEN_BY, REDRIVEN_REASON}
)
"""Every header that is ours."""

_RECORD_OVERHEAD: Final = 128
"""What Kafka adds to a record and its batch, rounded up."""
_HEADER_OVERHEAD: Final = 10


@dataclass(frozen=True, slots=True)
class Letter:
    """One record for the dead-letter topic."""

    key: bytes | None
    value: bytes
    headers: list[Header]

    @property
    def size(self) -> int:
        """About what the broker counts against ``max.message.bytes``, rounded up."""
        return _RECORD_OVERHEAD + len(self.key or b"") + len(self.value) + _headers_size(self.headers)


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """What a letter's headers say; None or absent where they say nothing."""

    id: str | None
    origin: str | None
    origin_timestamp_ms: int | None
    generation: int
    attempt: int
    error_code: str | None
    error: str | None
    worker: str | None
    time: str | None
    model: str | None
    model_version: str | None
    first_failure: str | None
    failures: tuple[dict[str, Any], ...]
    """Every failed try, oldest first: attempt, code, error, time, worker, model, version."""
    evidence: str | None
    """What the worker saw, such as the end of a traceback."""
    batch_rows: int | None
    """Rows of the batch that the job was last run in."""
    digest: str | None
    """SHA-256 in hex of a body that was too large to keep."""
    size: int | None
    """Bytes of a body that was too large to keep."""
    is_null: bool
    """Whether the job's record had no value at all."""
    gap: tuple[int, int] | None
    """First and last offset of records that were gone, or could not be read, before anyone had read them."""
    redriven: str | None
    """The identity of the letter that this record says was redriven: it is no letter itself."""
    redriven_by: str | None
    redriven_reason: str | None

    @property
    def identity(self) -> str | None:
        """What tells one letter from another: origin, generation and attempt. None where the letter does not say."""
        return None if self.origin is None else f"{self.origin}/{self.generation}/{self.attempt}"


def build_letter(
    value: bytes | None,
    *,
    max_bytes: int,
    job_id: bytes,
    tries: Tries,
    error: JobError,
    worker: str,
    time_ms: int,
    evidence: str = "",
    batch_rows: int = 0,
) -> Letter:
    """The letter for a job of these bytes, whose last try is among ``tries.failures``.

    Where it would be larger than ``max_bytes``, the body gives way to its digest and size, and if that is not enough, the
    job's own headers to their number: a letter can never block a partition.
    """
    texts = build_tries_headers(tries, job_id=job_id, error=error, worker=worker) | {TIME: rfc3339(time_ms)}
    texts |= {EVIDENCE: evidence} if evidence else {}
    texts |= {BATCH_ROWS: str(batch_rows)} if batch_rows else {}
    texts |= {NULL: "1"} if value is None else {}
    body = value or b""
    letter = Letter(job_id, body, [*encode_headers(texts), *tries.original])
    if letter.size <= max_bytes:
        return letter
    texts |= {DIGEST: hashlib.sha256(body).hexdigest(), SIZE: str(len(body))}
    letter = Letter(job_id, b"", [*encode_headers(texts), *tries.original])
    if letter.size <= max_bytes:
        return letter
    return Letter(job_id, b"", encode_headers(texts | {OWN_HEADERS: "0", DROPPED_HEADERS: str(len(tries.original))}))


def build_gap_letter(*, topic: str, partition: int, first: int, last: int, reason: str, worker: str, time_ms: int) -> Letter:
    """The letter for records ``first`` to ``last`` of a partition, which nobody has read; ``reason`` says why."""
    headers = {
        ORIGIN: f"{topic}-{partition}-{first}",
        GAP: f"{first}-{last}",
        ERROR: f"offsets {first} to {last} of {topic}, partition {partition}, could not be read: {reason}",
        WORKER: worker,
        TIME: rfc3339(time_ms),
    }
    return Letter(None, b"", list(encode_headers(headers)))


def build_redriven(
    identity: str, *, by: str, time_ms: int, generation: int, job_id: str = "", model: str | None = None, reason: str = ""
) -> Letter:
    """The record that letter ``identity``, of this job, was redriven as ``generation``; ``by`` and ``reason``: who, and why."""
    texts = {REDRIVEN: identity, REDRIVEN_BY: by, TIME: rfc3339(time_ms), PENSTOCK_GENERATION: str(generation)}
    more = {PENSTOCK_ID: job_id, MODEL: model, REDRIVEN_REASON: reason}
    return Letter(None, b"", list(encode_headers(texts | {name: text for name, text in more.items() if text})))


def parse_letter(headers: Iterable[Header]) -> LetterFacts:
    """Read a letter's headers. Never raises; a header that makes no sense counts as absent."""
    found = {name: value.decode("utf-8", "replace") for name, value in first_values(headers).items()}
    first, _, last = found.get(GAP, "").partition("-")
    ends = number(first), number(last)
    return LetterFacts(
        id=found.get(PENSTOCK_ID),
        origin=found.get(ORIGIN),
        origin_timestamp_ms=number(found.get(ORIGIN_TIMESTAMP)),
        generation=number(found.get(PENSTOCK_GENERATION)) or 0,
        attempt=number(found.get(PENSTOCK_ATTEMPT)) or 1,
        error_code=found.get(ERROR_CODE),
        error=found.get(ERROR),
        worker=found.get(WORKER),
        time=found.get(TIME),
        model=found.get(MODEL),
        model_version=found.get(MODEL_VERSION),
        first_failure=found.get(FIRST_FAILURE),
        failures=parse_failures(found.get(FAILURES)),
        evidence=found.get(EVIDENCE),
        batch_rows=number(found.get(BATCH_ROWS)),
        digest=found.get(DIGEST),
        size=number(found.get(SIZE)),
        is_null=NULL in found,
        gap=None if ends[0] is None or ends[1] is None else (ends[0], ends[1]),
        redriven=found.get(REDRIVEN),
        redriven_by=found.get(REDRIVEN_BY),
        redriven_reason=found.get(REDRIVEN_REASON),
    )


def _headers_size(headers: Iterable[Header]) -> int:
    return sum(len(name.encode("utf-8", "replace")) + len(value or b"") + _HEADER_OVERHEAD for name, value in headers)
