"""Owns retry records: a job's own bytes and headers, untouched, and in front of the headers what became of it so far.

A worker that reads one knows the job's first place and time (its origin), which try comes next, how many engines died while
they ran it alone, and how long it has waited without using a try. Dead letters tell the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from penstock_schemas.errors import JobError
from penstock_schemas.headers import (
    MAX_COUNT,
    PENSTOCK_ATTEMPT,
    PENSTOCK_GENERATION,
    PENSTOCK_ID,
    Header,
    first_values,
    rfc3339,
)
from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.text import MAX_MESSAGE

ORIGIN: Final = "penstock-origin"
"""Topic, partition and offset of the job's first record, joined by ``-``."""
ORIGIN_TIMESTAMP: Final = "penstock-origin-timestamp"
"""That record's LogAppendTime, Unix ms: deadlines are judged by it."""
ERROR_CODE: Final = "penstock-error-code"
ERROR: Final = "penstock-error"
WORKER: Final = "penstock-worker"
MODEL: Final = "penstock-model"
MODEL_VERSION: Final = "penstock-model-version"
FAILURES: Final = "penstock-failures"
"""Every failed try, as a JSON list of objects: attempt, code, error, time, worker, model, version."""
FIRST_FAILURE: Final = "penstock-first-failure"
DUE: Final = "penstock-due"
"""About when the next try comes, for people: what counts is the record's LogAppendTime and its tier's delay."""
KILLS: Final = "penstock-kills"
WAITED: Final = "penstock-waited"
"""Seconds in tiers that cost no try."""
OWN_HEADERS: Final = "penstock-own-headers"
"""How many headers at the end of the record are the job's own."""
PROBE: Final = "penstock-probe"
"""The record is no job: a worker asked the broker for its time."""

RETRY_HEADERS: Final = frozenset(
    {ORIGIN, ORIGIN_TIMESTAMP, ERROR_CODE, ERROR, WORKER, MODEL, MODEL_VERSION, FAILURES, FIRST_FAILURE, DUE, KILLS, WAITED}
    | {OWN_HEADERS}
)
"""What a retry record has besides the headers that any job may have."""

_KEPT: Final = 20
_SHORT: Final = 500


@dataclass(frozen=True, slots=True)
class Tries:
    """What is known of a job besides what it says itself. ``original`` are its own headers."""

    origin: str
    origin_timestamp_ms: int
    attempt: int = 1
    """The try that is made with this record, from 1."""
    generation: int = 0
    kills: int = 0
    """Engines, or workers, that died while they ran it alone."""
    waited: float = 0.0
    first_failure: str | None = None
    failures: tuple[dict[str, Any], ...] = ()
    original: Sequence[Header] = field(default_factory=list[Header])

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the job's first record."""
        topic, partition, offset = self.origin.rsplit("-", 2)
        return topic, int(partition), int(offset)

    def failed(
        self, error: JobError, *, time_ms: int, worker: str, model: str | None = None, version: str | None = None
    ) -> Tries:
        """The same with one more failed try on its list; :attr:`attempt` stays."""
        time = rfc3339(time_ms)
        told = {"attempt": self.attempt, "code": error.code.value, "error": error.message[:_SHORT], "time": time}
        told |= {"worker": worker} | ({"model": model} if model else {}) | ({"version": version} if version else {})
        return replace(self, first_failure=self.first_failure or time, failures=(*self.failures, told)[-_KEPT:])


def parse_tries(
    headers: Sequence[Header], *, topic: str, partition: int, offset: int, timestamp_ms: int, retried: bool
) -> Tries:
    """What the headers of the record at this place say. Never raises; what makes no sense counts as absent.

    ``retried``: whether the record is of a retry topic; elsewhere only its generation and attempt are anybody's to say.
    """
    found = {name: value.decode("utf-8", "replace") for name, value in first_values(headers).items()} if headers else {}
    generation, attempt = number(found.get(PENSTOCK_GENERATION)) or 0, number(found.get(PENSTOCK_ATTEMPT)) or 1
    here = Tries(
        f"{topic}-{partition}-{offset}",
        timestamp_ms,
        attempt if attempt <= MAX_COUNT else 1,
        generation if generation <= MAX_COUNT else 0,
        original=headers,
    )
    if not retried or ORIGIN not in found or not _is_place(found[ORIGIN]):
        return here
    stamp = number(found.get(ORIGIN_TIMESTAMP))
    return replace(
        here,
        origin=found[ORIGIN],
        origin_timestamp_ms=timestamp_ms if stamp is None else stamp,
        kills=number(found.get(KILLS)) or 0,
        waited=float(number(found.get(WAITED)) or 0),
        first_failure=found.get(FIRST_FAILURE),
        failures=parse_failures(found.get(FAILURES)),
        original=own_headers(headers),
    )


def build_tries_headers(tries: Tries, *, job_id: bytes | None, error: JobError, worker: str) -> dict[str, str]:
    """What retry records and dead letters say alike, by header name."""
    last = tries.failures[-1] if tries.failures else {}
    texts: dict[str, str | None] = {
        PENSTOCK_ID: None if job_id is None else job_id.decode("ascii", "replace"),
        PENSTOCK_GENERATION: str(tries.generation),
        PENSTOCK_ATTEMPT: str(tries.attempt),
        ORIGIN: tries.origin,
        ORIGIN_TIMESTAMP: str(tries.origin_timestamp_ms),
        ERROR_CODE: error.code.value,
        ERROR: error.message[:MAX_MESSAGE],
        WORKER: worker,
        MODEL: last.get("model"),
        MODEL_VERSION: last.get("version"),
        FIRST_FAILURE: tries.first_failure,
        FAILURES: orjson.dumps(tries.failures).decode() if tries.failures else None,
        OWN_HEADERS: str(len(tries.original)),
    }
    return {name: text for name, text in texts.items() if text is not None}


def build_retry_headers(tries: Tries, *, job_id: bytes | None, error: JobError, worker: str, due_ms: int) -> list[Header]:
    """Headers of the record that takes a job's place: ours first, so that they count, then the job's own.

    ``tries`` are those of the next try. ``job_id``: None where it could not be read for now; the next try derives it.
    """
    texts = build_tries_headers(tries, job_id=job_id, error=error, worker=worker)
    # Also where they are 0: a job may have such headers of its own, and ours count.
    texts |= {DUE: rfc3339(due_ms), KILLS: str(tries.kills), WAITED: str(round(tries.waited))}
    return [*encode_headers(texts), *tries.original]


def own_headers(headers: Sequence[Header]) -> list[Header]:
    """The job's own headers in a retry record or a letter: the last ones, as many as the record says."""
    told = first_values(headers).get(OWN_HEADERS, b"").decode("utf-8", "replace")
    count = number(told)
    return list(headers[len(headers) - count :]) if count is not None and count <= len(headers) else []


def parse_failures(text: str | None) -> tuple[dict[str, Any], ...]:
    """The failed tries that :data:`FAILURES` tells of; empty where it makes no sense."""
    try:
        found: Any = orjson.loads(text or "[]")
    except orjson.JSONDecodeError:
        return ()
    return tuple(one for one in found if is_object(one)) if is_array(found) else ()


def encode_headers(texts: dict[str, str]) -> list[Header]:
    """Headers of texts, in order."""
    return [(name, text.encode("utf-8", "replace")) for name, text in texts.items()]


def is_probe(headers: Iterable[Header]) -> bool:
    """Whether a record of a retry topic is no job, but a worker's question for the broker's time."""
    names = {name for name, _ in headers}
    return PROBE in names and ORIGIN not in names  # a job may have any header of its own


def number(text: str | None) -> int | None:
    """A whole number of a header that fits 64 bits, or None where it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _is_place(origin: str) -> bool:
    topic, *ends = origin.rsplit("-", 2)
    return bool(topic) and len(ends) == 2 and all(number(end) is not None for end in ends) and len(ends[0]) < 10
