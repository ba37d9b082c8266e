"""Owns the evidence of a life in which all went well, made up, for tests that doctor it. Pure."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from tests.faults.checker import Verdict
from tests.faults.jobs import TRIED, Expected, Kind, make_jobs
from tests.faults.records import Accepted, Commit, Evidence, Record, RetryTopic, Stored

from penstock_schemas.dead import build_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.outcomes import encode_failed
from penstock_schemas.requests import Request, RequestedOutput
from penstock_schemas.results import encode_succeeded
from penstock_schemas.retries import Tries, build_retry_headers

TOPIC: Final = "t.jobs"
RETRY: Final = "t.retry.1s"
DELAY: Final = 1.0
TTL_MS: Final = 60_000
ROUND_MS: Final = 10_000
"""Between one try of everybody and the next."""


def told(job: Accepted, expected: Expected | None = None, *, generation: int = 0, attempts: int | None = None) -> bytes:
    """The outcome that ``job`` should have, or another one."""
    expected = expected or job.job.expected
    place = f"{TOPIC}-{job.partition}-{job.offset}"
    attempts = attempts or expected.attempts[1]
    if expected.code is not None:
        status: Literal["failed", "expired"] = "expired" if expected.status == "expired" else "failed"
        error = JobError(expected.code, "no")
        return encode_failed(
            id=job.id.encode(), status=status, error=error, origin=place, generation=generation, attempts=attempts
        )
    outputs = (RequestedOutput("y", None, None),)
    request = Request("double", None, None, (), outputs, True, None, None, generation, attempts)
    count = np.zeros(1, np.int64)
    (value,) = encode_succeeded(
        request,
        model_name="double",
        model_version="1",
        ids=[job.id.encode()],
        topic=TOPIC,
        partitions=np.array([job.partition], np.int32),
        offsets=np.array([job.offset], np.int64),
        outputs={name: array[np.newaxis] for name, array in (expected.outputs or {}).items()},
        queue_us=count,
        decode_us=0,
        batch_wait_us=count,
        infer_us=0,
        encode_us=lambda: 0,
        batch_rows=1,
    )
    assert isinstance(value, bytes)
    return value


def letter(job: Accepted, offset: int, *, time_ms: int, code: ErrorCode | None = None) -> Record:
    """The dead letter that ``job`` should have, or the one with ``code``."""
    error = JobError(code or job.job.expected.code or ErrorCode.MODEL_ERROR, "no")
    made = build_letter(
        job.job.value,
        max_bytes=1 << 20,
        job_id=job.id.encode(),
        tries=tries(job, job.job.expected.attempts[1]),
        error=error,
        worker="w",
        time_ms=time_ms,
    )
    return Record(0, offset, time_ms, made.key, made.value, tuple(made.headers))


def tries(job: Accepted, attempt: int) -> Tries:
    origin = f"{TOPIC}-{job.partition}-{job.offset}"
    return Tries(origin, job.time_ms, attempt, original=list(job.job.headers))


def retry(job: Accepted, offset: int, attempt: int, *, time_ms: int) -> Record:
    """The record with which ``job`` is tried again for the ``attempt``-th time."""
    error = JobError(job.job.expected.code or ErrorCode.ENGINE_CRASH, "no")
    headers = build_retry_headers(tries(job, attempt), job_id=job.id.encode(), error=error, worker="w", due_ms=time_ms + 1000)
    return Record(0, offset, time_ms, job.job.key, job.job.value, tuple(headers))


def promises(evidence: Evidence) -> set[str]:
    """Which promises ``evidence`` shows to be broken."""
    return Verdict(evidence).promises


def of_kind(evidence: Evidence, kind: Kind) -> int:
    """The number of the first job of ``kind``."""
    return next(n for n, job in enumerate(evidence.accepted) if job.job.kind is kind)


def good_life(jobs: int = 600) -> Evidence:
    """One partition of everything; job ``n`` is run at ``1000 + n`` ms, each further try 10 s after the one before.

    Every tenth job is committed when it is settled.
    """
    weights = {**TRIED, Kind.NO_MEMORY: 5, Kind.CRASHES: 5, Kind.HANGS: 5}
    accepted = [Accepted(job, 0, n, n) for n, job in enumerate(make_jobs(7, jobs, weights))]
    ran = [(1000 + n + ROUND_MS * (job.job.expected.attempts[1] - 1), job) for n, job in enumerate(accepted)]
    ran.sort(key=lambda one: one[0])
    outcomes = [Record(0, n, time_ms, job.id.encode(), told(job)) for n, (time_ms, job) in enumerate(ran)]
    results: dict[str, Stored] = {}
    for record, (_, job) in zip(outcomes, ran, strict=True):
        results.setdefault(job.id, Stored(record.value or b"", record.time_ms + TTL_MS))
    again = [
        (1000 + n + ROUND_MS * (attempt - 2), job, attempt)
        for n, job in enumerate(accepted)
        for attempt in range(2, job.job.expected.attempts[1] + 1)
    ]
    again.sort(key=lambda one: one[0])
    retries = [retry(job, n, attempt, time_ms=time_ms) for n, (time_ms, job, attempt) in enumerate(again)]
    failed = [(time_ms, job) for time_ms, job in ran if job.job.expected.status == "failed"]
    letters = [letter(job, n, time_ms=time_ms) for n, (time_ms, job) in enumerate(failed)]
    end, last = len(accepted), 5 * ROUND_MS
    commits = [Commit(0, offset, 1000 + offset) for offset in range(10, end, 10)] + [Commit(0, end, 1000 + end)]
    held = RetryTopic(DELAY, retries, [Commit(0, len(retries), last)], {0: len(retries), 1: 0})
    sightings = {job_id: {stored.value} for job_id, stored in results.items()}
    ends = {0: end, 1: 0}
    return Evidence(
        TOPIC, TTL_MS, accepted, outcomes, letters, commits, results, ends, ends, {0: end}, sightings, {RETRY: held}
    )
