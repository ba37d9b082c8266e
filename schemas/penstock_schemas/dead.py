"""Owns dead letters: records kept for people to look at, mend and redrive.

A letter's value is the job's own bytes, untouched; what happened stands in headers in front of the job's own, which are
untouched, too. A letter is identified by its job's origin and attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock_schemas.errors import JobError
from penstock_schemas.headers import PENSTOCK_ATTEMPT, PENSTOCK_GENERATION, PENSTOCK_ID, Header, first_values, rfc3339
from penstock_schemas.text import MAX_MESSAGE

ORIGIN: Final = "penstock-origin"
ORIGIN_TIMESTAMP: Final = "penstock-origin-timestamp"
ERROR_CODE: Final = "penstock-error-code"
ERROR: Final = "penstock-error"
WORKER: Final = "penstock-worker"
TIME: Final = "penstock-time"
EVIDENCE: Final = "penstock-evidence"
DIGEST: Final = "penstock-digest"
SIZE: Final = "penstock-size"
DROPPED_HEADERS: Final = "penstock-dropped-headers"
GAP: Final = "penstock-gap"

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
    evidence: str | None
    """What the worker saw, such as the end of a traceback."""
    digest: str | None
    """SHA-256 in hex of a body that was too large to keep."""
    size: int | None
    """Bytes of a body that was too large to keep."""
    gap: tuple[int, int] | None
    """First and last offset of records that were gone before anyone read them."""


def build_letter_headers(
    *,
    job_id: bytes,
    origin: str,
    origin_timestamp_ms: int,
    attempt: int,
    error: JobError,
    worker: str,
    time_ms: int,
    evidence: str = "",
    generation: int = 0,
    original: Sequence[Header] = (),
) -> list[Header]:
    """A letter's headers: ours first, so that they count, then the job's own. ``origin`` is topic-partition-offset."""
    ours = {
        PENSTOCK_ID: job_id.decode("ascii", "replace"),
        ORIGIN: origin,
        ORIGIN_TIMESTAMP: str(origin_timestamp_ms),
        PENSTOCK_GENERATION: str(generation),
        PENSTOCK_ATTEMPT: str(attempt),
        ERROR_CODE: error.code.value,
        ERROR: error.message[:MAX_MESSAGE],
        WORKER: worker,
        TIME: rfc3339(time_ms),
        **({EVIDENCE: evidence} if evidence else {}),
    }
    return [*_encoded(ours), *original]


def build_letter(
    value: bytes,
    *,
    max_bytes: int,
    job_id: bytes,
    origin: str,
    origin_timestamp_ms: int,
    attempt: int,
    error: JobError,
    worker: str,
    time_ms: int,
    evidence: str = "",
    generation: int = 0,
    original: Sequence[Header] = (),
) -> Letter:
    """The letter for a job of these bytes.

    Where it would be larger than ``max_bytes``, the body gives way to its digest and size, and if that is not enough, the
    job's own headers to their number: a letter can never block a partition.
    """
    headers = build_letter_headers(
        job_id=job_id,
        origin=origin,
        origin_timestamp_ms=origin_timestamp_ms,
        attempt=attempt,
        error=error,
        worker=worker,
        time_ms=time_ms,
        evidence=evidence,
        generation=generation,
        original=original,
    )
    letter = Letter(job_id, value, headers)
    if letter.size <= max_bytes:
        return letter
    ours = headers[: len(headers) - len(original)]
    ours += _encoded({DIGEST: hashlib.sha256(value).hexdigest(), SIZE: str(len(value))})
    letter = Letter(job_id, b"", [*ours, *original])
    if letter.size <= max_bytes:
        return letter
    return Letter(job_id, b"", [*ours, *_encoded({DROPPED_HEADERS: str(len(original))})])


def build_gap_letter(*, topic: str, partition: int, first: int, last: int, worker: str, time_ms: int) -> Letter:
    """The letter for records ``first`` to ``last`` of a partition, which were gone or unreadable before anyone read them."""
    place = f"offsets {first} to {last} of {topic}, partition {partition}"
    headers = {
        ORIGIN: f"{topic}-{partition}-{first}",
        GAP: f"{first}-{last}",
        ERROR: f"{place} could not be read: deleted by retention before a worker came to them, or damaged",
        WORKER: worker,
        TIME: rfc3339(time_ms),
    }
    return Letter(None, b"", list(_encoded(headers)))


def parse_letter(headers: Iterable[Header]) -> LetterFacts:
    """Read a letter's headers. Never raises; a header that makes no sense counts as absent."""
    found = {name: value.decode("utf-8", "replace") for name, value in first_values(headers).items()}
    first, _, last = found.get(GAP, "").partition("-")
    ends = _number(first), _number(last)
    generation, attempt = _number(found.get(PENSTOCK_GENERATION)), _number(found.get(PENSTOCK_ATTEMPT))
    return LetterFacts(
        id=found.get(PENSTOCK_ID),
        origin=found.get(ORIGIN),
        origin_timestamp_ms=_number(found.get(ORIGIN_TIMESTAMP)),
        generation=generation or 0,
        attempt=attempt or 1,
        error_code=found.get(ERROR_CODE),
        error=found.get(ERROR),
        worker=found.get(WORKER),
        time=found.get(TIME),
        evidence=found.get(EVIDENCE),
        digest=found.get(DIGEST),
        size=_number(found.get(SIZE)),
        gap=None if ends[0] is None or ends[1] is None else (ends[0], ends[1]),
    )


def _encoded(headers: dict[str, str]) -> list[Header]:
    return [(name, text.encode("utf-8", "replace")) for name, text in headers.items()]


def _headers_size(headers: Iterable[Header]) -> int:
    return sum(len(name.encode("utf-8", "replace")) + len(value or b"") + _HEADER_OVERHEAD for name, value in headers)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 19 else None
