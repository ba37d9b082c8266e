"""Answers that the parent gives itself, for jobs that no engine is given."""

from __future__ import annotations

import time

import numpy as np
from tests.unit.worker.making import a_delivery

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import JobDecoder, encode_job
from penstock_schemas.outcomes import decode_outcome
from penstock_worker.settle.reject import reject


def test_jobs_that_no_engine_is_given_are_ended_with_their_id_and_caller() -> None:
    job = encode_job({"x": np.zeros((1, 4), np.float32)}, model_name="m", model_version="2", reply_to="me", timeout_us=1)
    values: list[bytes | None] = [job, b"garbage", None]
    headers: dict[int, list[tuple[str, bytes | None]]] = {0: [("ce_id", b"c"), ("penstock-attempt", b"3")]}
    delivery = a_delivery(values, keys=[b"a", b"b", None], times_ms=[time.time_ns() // 10**6] * 3, headers=headers)
    crash = JobError(ErrorCode.ENGINE_CRASH, "the engine died")
    answer = reject(delivery, [0, 2, 1], crash, JobDecoder())
    first, null, garbage = map(decode_outcome, answer.values)
    assert answer.keys == [b"c", null.id.encode(), b"b"]
    assert (first.id, first.status, first.error_code, first.attempts) == ("c", "failed", "engine_crash", 3)
    assert (first.model_name, first.model_version, first.reply_to, first.origin) == ("m", "2", "me", "f.jobs-0-0")
    assert (null.error_code, garbage.error_code) == ("invalid_job", "invalid_job"), "an error of its own goes first"
    assert null.id.startswith("~0-2-")
    assert {index: failure.code for index, failure in answer.failures.items()} == {
        0: "engine_crash",
        1: "invalid_job",
        2: "invalid_job",
    }
