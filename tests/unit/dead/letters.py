"""Owns letters for the tests of what is decided about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.dead.letters import DeadLetter, Record, read_record
from penstock_schemas.dead import Letter, build_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header
from penstock_schemas.jobs import encode_job
from penstock_schemas.retries import Tries

HOUR_MS = 3_600_000
TIME_MS = 1_800_000_000_000
REFUSED = JobError(ErrorCode.MODEL_ERROR, "x must not be -1")


def body(**more: Any) -> bytes:
    """A job with a raw tensor."""
    return encode_job({"x": np.ones((1, 4), np.float32)}, model_name="double", **more)


def built(
    job_id: str = "a1",
    value: bytes | None = b"",
    *,
    offset: int = 0,
    attempt: int = 1,
    generation: int = 0,
    error: JobError = REFUSED,
    model: str | None = "double",
    original: Sequence[Header] = (),
    topic: str = "penstock.jobs",
    max_bytes: int = 100_000,
) -> Letter:
    tries = Tries(f"{topic}-0-{offset}", TIME_MS, attempt, generation, original=original)
    tries = tries.failed(error, time_ms=TIME_MS, worker="w1", model=model)
    return build_letter(
        body() if value == b"" else value,
        max_bytes=max_bytes,
        job_id=job_id.encode(),
        tries=tries,
        error=error,
        worker="w1",
        time_ms=TIME_MS,
    )


def record(letter: Letter, offset: int = 0, timestamp_ms: int = TIME_MS) -> Record:
    return Record("penstock.dead", 0, offset, timestamp_ms, letter.key, letter.value, letter.headers)


def read(letter: Letter, offset: int = 0, timestamp_ms: int = TIME_MS) -> DeadLetter:
    found = read_record(record(letter, offset, timestamp_ms))
    assert isinstance(found, DeadLetter)
    return found


def letter(job_id: str = "a1", value: bytes | None = b"", *, timestamp_ms: int = TIME_MS, **more: Any) -> DeadLetter:
    return read(built(job_id, value, **more), timestamp_ms=timestamp_ms)
