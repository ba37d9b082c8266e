"""Retry records: the job's bytes and headers untouched, and all that the next worker must know of it in front of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header, parse_job_headers
from penstock_schemas.ids import derived_id
from penstock_schemas.retries import PROBE, Tries, build_retry_headers, is_probe, own_headers, parse_tries

ERROR = JobError(ErrorCode.ENGINE_CRASH, "it died: é")
OWN: list[Header] = [("traceparent", b"t"), ("odd", None), ("odd", b"\xff"), ("penstock-generation", b"3")]


def read_back(headers: list[Header]) -> Tries:
    return parse_tries(headers, topic="f.retry.10s", partition=5, offset=99, timestamp_ms=7000, retried=True)


def test_a_new_job_is_its_own_origin() -> None:
    tries = parse_tries(OWN, topic="f.jobs", partition=2, offset=17, timestamp_ms=5, retried=False)
    assert (tries.origin, tries.place, tries.origin_timestamp_ms) == ("f.jobs-2-17", ("f.jobs", 2, 17), 5)
    assert (tries.attempt, tries.generation, tries.kills, tries.original) == (1, 3, 0, OWN)


def test_what_a_worker_writes_the_next_one_reads() -> None:
    first = parse_tries(OWN, topic="f.jobs-a", partition=2, offset=17, timestamp_ms=5, retried=False)
    failed = first.failed(ERROR, time_ms=1000, worker="w1", model="m", version="3")
    next_try = replace(failed, attempt=2, kills=1, waited=70.0)
    tries = read_back(build_retry_headers(next_try, job_id=b"a1", error=ERROR, worker="w1", due_ms=2000))
    assert tries == next_try
    assert tries.place == ("f.jobs-a", 2, 17)
    assert tries.failures[0] | {"time": ""} == {
        "attempt": 1, "code": "engine_crash", "error": "it died: é", "time": "", "worker": "w1", "model": "m", "version": "3",
    }  # fmt: skip
    again = replace(tries.failed(ERROR, time_ms=9000, worker="w2"), attempt=3)
    headers = build_retry_headers(again, job_id=b"a1", error=ERROR, worker="w2", due_ms=2000)
    tries = read_back(headers)
    assert [failure["attempt"] for failure in tries.failures] == [1, 2]
    assert (tries.first_failure, tries.attempt) == ("1970-01-01T00:00:01.000Z", 3)
    assert headers[-4:] == OWN
    assert own_headers(headers) == OWN, "also those that look like ours"
    assert [name for name, _ in headers].count("penstock-attempt") == 1
    job = parse_job_headers(headers)
    assert (job.id, job.generation, job.attempt, job.error) == (b"a1", 3, 3, None)


def test_nobody_can_make_a_new_job_pass_for_a_retried_one() -> None:
    made = build_retry_headers(Tries("f.jobs-0-0", 0, 3, kills=1), job_id=b"a", error=ERROR, worker="w", due_ms=0)
    tries = parse_tries(made, topic="f.jobs", partition=2, offset=17, timestamp_ms=5, retried=False)
    assert (tries.origin, tries.kills) == ("f.jobs-2-17", 0)


@pytest.mark.parametrize("origin", ["", "f.jobs", "f.jobs-1", "f.jobs-1-x", "-1-2", "f.jobs-99999999999-1", "a-1-" + "9" * 19])
def test_an_origin_that_is_none_leaves_the_record_its_own(origin: str) -> None:
    tries = read_back([("penstock-origin", origin.encode()), ("penstock-kills", b"1")])
    assert (tries.origin, tries.kills, tries.origin_timestamp_ms) == ("f.retry.10s-5-99", 0, 7000)


NAMES = st.sampled_from(["penstock-origin", "penstock-kills", "penstock-waited", "penstock-failures", "penstock-attempt", "x"])
VALUES = st.none() | st.binary(max_size=30) | st.sampled_from([b"t-1-2", b"[]", b"[1]", b'{"a":1}', b"9" * 18, b"-1"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_rubbish_in_headers_never_raises(headers: list[Header]) -> None:
    tries = read_back(headers)
    topic, partition, offset = tries.place
    assert topic
    assert 0 <= partition < 2**31
    assert 0 <= offset < 2**63


def test_the_list_of_failures_is_bounded() -> None:
    tries = Tries("f.jobs-0-0", 0)
    for _ in range(100):
        tries = tries.failed(JobError(ErrorCode.UNKNOWN_VERSION, "x" * 10_000), time_ms=0, worker="w")
    size = sum(len(value or b"") for _, value in build_retry_headers(tries, job_id=b"a", error=ERROR, worker="w", due_ms=0))
    assert size < 32 * 1024, "with its job it must fit its topic"


def test_a_question_for_the_time_is_no_job() -> None:
    assert is_probe([(PROBE, b"1")])
    assert not is_probe(OWN)


@pytest.mark.parametrize("timestamp_ms", [1_700_000_000_000, 0, -1])
def test_an_id_that_was_derived_stays_the_jobs(timestamp_ms: int) -> None:
    derived = derived_id(3, 17, timestamp_ms).encode()
    headers = build_retry_headers(Tries("f.jobs-3-17", 0, 2), job_id=derived, error=ERROR, worker="w", due_ms=0)
    assert (parse_job_headers(headers).id, parse_job_headers(headers).error) == (derived, None)
    assert parse_job_headers([("ce_id", derived)]).error is not None, "no caller can give one"
    assert parse_job_headers([("penstock-id", b"~x")]).error is not None
