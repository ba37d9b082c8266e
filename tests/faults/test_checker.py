"""The checker finds nothing in a good life and every breach in a doctored one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from tests.faults.checker import Verdict
from tests.faults.jobs import Expected, make_jobs
from tests.faults.records import Accepted, Commit, Evidence, Record, Stored

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.outcomes import encode_failed
from penstock_schemas.requests import Request, RequestedOutput
from penstock_schemas.results import encode_succeeded

TOPIC = "t.jobs"
TTL_MS = 60_000


def told(job: Accepted, expected: Expected | None = None, *, generation: int = 0) -> bytes:
    """The outcome that ``job`` should have, or another one."""
    expected = expected or job.job.expected
    place = f"{TOPIC}-{job.partition}-{job.offset}"
    if expected.code is not None:
        status: Literal["failed", "expired"] = "expired" if expected.status == "expired" else "failed"
        error = JobError(expected.code, "no")
        return encode_failed(id=job.id.encode(), status=status, error=error, origin=place, generation=generation)
    request = Request("double", None, None, (), (RequestedOutput("y", None, None),), True, None, None, generation)
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


def good_life(jobs: int = 300) -> Evidence:
    """One partition of everything; job ``n`` is answered at ``1000 + n`` ms, and committed every tenth job."""
    accepted = [Accepted(job, 0, n, n) for n, job in enumerate(make_jobs(7, jobs))]
    outcomes = [Record(0, n, 1000 + n, job.id.encode(), told(job)) for n, job in enumerate(accepted)]
    results: dict[str, Stored] = {}
    for record, job in zip(outcomes, accepted, strict=True):
        results.setdefault(job.id, Stored(record.value or b"", record.time_ms + TTL_MS))
    failed = [job for job in accepted if job.job.expected.status == "failed"]
    letters = [Record(0, n, 500, job.id.encode(), job.job.value or b"") for n, job in enumerate(failed)]
    end = len(accepted)
    commits = [Commit(0, offset, 1000 + offset) for offset in range(10, end, 10)] + [Commit(0, end, 1000 + end)]
    sightings = {job_id: {stored.value} for job_id, stored in results.items()}
    ends = {0: end, 1: 0}
    return Evidence(TOPIC, TTL_MS, accepted, outcomes, letters, commits, results, ends, ends, {0: end}, sightings)


def promises(evidence: Evidence) -> set[str]:
    return Verdict(evidence).promises


def twice(evidence: Evidence, n: int, value: bytes) -> Evidence:
    """One more outcome for job ``n``, at the end."""
    end = len(evidence.outcomes)
    record = Record(0, end, 9000, evidence.accepted[n].id.encode(), value)
    return replace(evidence, outcomes=[*evidence.outcomes, record], outcome_ends={0: end + 1}, positions={0: end + 1})


def first_success(evidence: Evidence) -> int:
    return next(n for n, job in enumerate(evidence.accepted) if job.job.expected.outputs)


def test_a_good_life_has_no_breach() -> None:
    evidence = good_life()
    kinds = {job.job.kind for job in evidence.accepted}
    assert len(kinds) >= 10
    assert len({job.id for job in evidence.accepted}) < len(evidence.accepted), "no job was submitted twice"
    assert not Verdict(evidence).breaches, str(Verdict(evidence))


def test_a_repeated_outcome_is_counted_and_no_breach() -> None:
    evidence = good_life()
    n = first_success(evidence)
    verdict = Verdict(twice(evidence, n, told(evidence.accepted[n])))
    assert not verdict.breaches, str(verdict)
    assert verdict.repeated == 1


def test_a_missing_outcome_is_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    without = [record for record in evidence.outcomes if record.offset != n]
    assert {"I1", "I5"} <= promises(replace(evidence, outcomes=without))


def test_a_missing_outcome_of_a_repeated_submission_is_found() -> None:
    evidence = good_life()
    ids = [job.id for job in evidence.accepted]
    n = next(n for n, job_id in enumerate(ids) if job_id in ids[:n])
    without = [record for record in evidence.outcomes if record.offset != n]
    assert promises(replace(evidence, outcomes=without)) == {"I1", "I5"}


def test_a_wrong_answer_is_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    job = evidence.accepted[n]
    wrong = {"y": (job.job.expected.outputs or {})["y"] + 1}
    value = told(job, Expected("succeeded", outputs=wrong))
    outcomes = [replace(record, value=value) if record.offset == n else record for record in evidence.outcomes]
    results = {**evidence.results, job.id: replace(evidence.results[job.id], value=value)}
    assert promises(replace(evidence, outcomes=outcomes, results=results, sightings={})) == {"I4"}


def test_contradictory_outcomes_are_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    contrary = told(evidence.accepted[n], Expected("failed", ErrorCode.ENGINE_CRASH))
    assert {"I3", "I4", "letters"} == promises(twice(evidence, n, contrary))


def test_a_newer_generation_contradicts_nothing_and_is_what_redis_must_hold() -> None:
    evidence = good_life()
    n = first_success(evidence)
    newer = told(evidence.accepted[n], generation=1)
    redriven = replace(twice(evidence, n, newer), sightings={})
    assert promises(redriven) == {"I2"}
    results = {**evidence.results, evidence.accepted[n].id: Stored(newer, 9000 + TTL_MS)}
    assert not promises(replace(redriven, results=results))


def test_redis_with_the_second_outcome_is_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    job = evidence.accepted[n]
    second = told(job).replace(b'"batch_rows":1', b'"batch_rows":2')
    results = {**evidence.results, job.id: replace(evidence.results[job.id], value=second)}
    assert promises(replace(twice(evidence, n, second), results=results)) == {"I2"}


def test_redis_without_a_result_is_found() -> None:
    evidence = good_life()
    job_id = evidence.accepted[0].id
    assert promises(replace(evidence, results={k: v for k, v in evidence.results.items() if k != job_id})) == {"I2"}


def test_redis_with_a_result_of_no_outcome_is_found() -> None:
    evidence = good_life()
    assert promises(replace(evidence, results={**evidence.results, "other": Stored(b"{}", TTL_MS)})) == {"I2"}


def test_a_result_that_lives_too_long_is_found() -> None:
    evidence = good_life()
    job_id = evidence.accepted[0].id
    later = replace(evidence.results[job_id], expires_ms=evidence.results[job_id].expires_ms + 10_000)
    assert promises(replace(evidence, results={**evidence.results, job_id: later})) == {"I2"}


def test_a_reader_that_saw_another_outcome_is_found() -> None:
    evidence = good_life()
    job = evidence.accepted[first_success(evidence)]
    second = told(job).replace(b'"batch_rows":1', b'"batch_rows":2')
    assert promises(replace(evidence, sightings={job.id: {told(job), second}})) == {"I3"}


def test_outcomes_of_one_id_in_two_partitions_are_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    evidence = twice(evidence, n, told(evidence.accepted[n]))
    moved = replace(evidence.outcomes[-1], partition=1, offset=0)
    outcomes = [*evidence.outcomes[:-1], moved]
    assert promises(replace(evidence, outcomes=outcomes, outcome_ends={}, positions={})) == {"I2"}


@pytest.mark.parametrize("ahead", [1, 7])
def test_a_commit_past_an_unsettled_job_is_found(ahead: int) -> None:
    evidence = good_life()
    early = Commit(0, 50 + ahead, 1000 + 49)  # at that time, jobs 0 to 49 had their outcomes
    commits = sorted([*evidence.commits, early], key=lambda commit: commit.time_ms)
    assert promises(replace(evidence, commits=commits)) == {"I5"}


def test_a_commit_right_behind_a_settled_job_is_none() -> None:
    evidence = good_life()
    commits = sorted([*evidence.commits, Commit(0, 50, 1000 + 49)], key=lambda commit: commit.time_ms)
    assert not promises(replace(evidence, commits=commits))


def test_jobs_left_unread_are_found() -> None:
    evidence = good_life()
    assert promises(replace(evidence, commits=evidence.commits[:-1])) == {"I6"}


def test_outcomes_left_unprojected_are_found() -> None:
    assert promises(replace(good_life(), positions={0: 3})) == {"I6"}


def test_a_failure_without_its_letter_is_found() -> None:
    evidence = good_life()
    assert promises(replace(evidence, letters=evidence.letters[1:])) == {"letters"}


def test_a_letter_after_its_outcome_is_found() -> None:
    evidence = good_life()
    late = replace(evidence.letters[0], time_ms=99_000)
    assert promises(replace(evidence, letters=[late, *evidence.letters[1:]])) == {"letters"}


def test_a_letter_with_other_bytes_is_found() -> None:
    evidence = good_life()
    other = replace(evidence.letters[0], value=b"other")
    assert promises(replace(evidence, letters=[other, *evidence.letters[1:]])) == {"letters"}


def test_outcomes_of_nothing_that_was_submitted_are_found() -> None:
    evidence = good_life()
    job = replace(evidence.accepted[0], offset=99_999)
    assert "stray" in promises(twice(evidence, 0, told(job)))


def test_what_is_no_outcome_is_found() -> None:
    assert "stray" in promises(twice(good_life(), 0, b"no outcome"))
