"""The checker finds nothing in a good life and every breach in a doctored one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.faults.checker import Verdict
from tests.faults.good_life import RETRY, TOPIC, TTL_MS, good_life, letter, of_kind, promises, retry, told
from tests.faults.jobs import Expected, Kind
from tests.faults.records import Accepted, Commit, Evidence, Record, Stored

from penstock_schemas.dead import build_gap_letter
from penstock_schemas.errors import ErrorCode
from penstock_schemas.retries import PROBE

EXPIRED = Expected("expired", ErrorCode.DEADLINE_EXCEEDED)


def twice(evidence: Evidence, n: int, value: bytes, time_ms: int = 9000) -> Evidence:
    """One more outcome for job ``n``, at the end."""
    end = len(evidence.outcomes)
    record = Record(0, end, time_ms, evidence.accepted[n].id.encode(), value)
    return replace(evidence, outcomes=[*evidence.outcomes, record], outcome_ends={0: end + 1}, positions={0: end + 1})


def without(evidence: Evidence, n: int) -> list[Record]:
    """The outcomes without that of job ``n``."""
    return [record for record in evidence.outcomes if record.value != told(evidence.accepted[n])]


def retold(evidence: Evidence, n: int, value: bytes) -> Evidence:
    """Another outcome for job ``n``, in the topic and in Redis."""
    job = evidence.accepted[n]
    outcomes = [replace(record, value=value) if record.value == told(job) else record for record in evidence.outcomes]
    results = {**evidence.results, job.id: replace(evidence.results[job.id], value=value)}
    return replace(evidence, outcomes=outcomes, results=results, sightings={})


def with_retries(evidence: Evidence, records: list[Record]) -> Evidence:
    """Other records in the retry topic, all of them read."""
    held, end = evidence.retries[RETRY], len(records)
    return replace(evidence, retries={RETRY: replace(held, records=records, commits=[Commit(0, end, 10**6)], ends={0: end})})


def once(evidence: Evidence, kind: Kind) -> int:
    """The number of a job of a kind, whose id no other has."""
    ids = [job.id for job in evidence.accepted]
    return next(n for n, job in enumerate(evidence.accepted) if job.job.kind is kind and ids.count(job.id) == 1)


def paid_for_by_our_kill(crashed: Evidence, job: Accepted, letter_ms: int = 1000) -> bool:
    """Whether it is a breach of I4 that ``job`` ended as a crash, and none where we ended an engine."""
    crashed = replace(crashed, letters=[*crashed.letters, letter(job, 1000, time_ms=letter_ms, code=ErrorCode.ENGINE_CRASH)])
    return promises(crashed) == {"I4"} and not promises(replace(crashed, deaths=1))


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
    assert {"I1", "I5"} <= promises(replace(evidence, outcomes=without(evidence, n)))


def test_a_missing_outcome_of_a_repeated_submission_is_found() -> None:
    evidence = good_life()
    ids = [job.id for job in evidence.accepted]
    n = next(n for n, job_id in enumerate(ids) if job_id in ids[:n])
    assert promises(replace(evidence, outcomes=without(evidence, n))) == {"I1", "I5"}


def test_a_wrong_answer_is_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    job = evidence.accepted[n]
    wrong = {"y": (job.job.expected.outputs or {})["y"] + 1}
    assert promises(retold(evidence, n, told(job, Expected("succeeded", outputs=wrong)))) == {"I4"}


def test_contradictory_outcomes_are_found() -> None:
    evidence = good_life()
    n = first_success(evidence)
    contrary = told(evidence.accepted[n], Expected("failed", ErrorCode.ENGINE_CRASH))
    assert {"I3", "I4", "letters"} == promises(twice(evidence, n, contrary))


@pytest.mark.parametrize("kind", [Kind.HANGS, Kind.NO_MEMORY])
def test_a_job_that_uses_up_its_tries_may_crash_in_one_of_two_runs_where_we_ended_its_engine(kind: Kind) -> None:
    evidence = good_life()
    n = once(evidence, kind)
    job = evidence.accepted[n]
    tries = job.job.expected.attempts[1]
    crashed = twice(evidence, n, told(job, Expected("failed", ErrorCode.ENGINE_CRASH), attempts=tries), time_ms=30_000)
    assert paid_for_by_our_kill(crashed, job, letter_ms=20_000)
    contrary = twice(evidence, n, told(job, Expected("failed", ErrorCode.MODEL_ERROR), attempts=tries))
    assert "I3" in promises(replace(contrary, deaths=1))


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


def test_a_letter_with_other_headers_is_found() -> None:
    evidence = good_life()
    other = replace(evidence.letters[0], headers=(*evidence.letters[0].headers, ("other", b"")))
    assert promises(replace(evidence, letters=[other, *evidence.letters[1:]])) == {"letters"}


def test_a_letter_of_another_failure_is_found() -> None:
    evidence = good_life()
    letters = [
        replace(one, headers=tuple((k, b"engine_crash" if v == b"invalid_job" else v) for k, v in one.headers))
        for one in evidence.letters
    ]
    assert promises(replace(evidence, letters=letters)) == {"letters"}


def test_a_letter_of_a_job_that_succeeds_is_found() -> None:
    evidence = good_life()
    job = evidence.accepted[of_kind(evidence, Kind.ORDINARY)]
    one_more = letter(job, len(evidence.letters), time_ms=500)
    assert promises(replace(evidence, letters=[*evidence.letters, one_more])) == {"I4"}


def test_a_gap_is_found_unless_the_test_made_it() -> None:
    evidence = good_life()
    n = of_kind(evidence, Kind.ORDINARY)
    made = build_gap_letter(topic=TOPIC, partition=0, first=n, last=n, reason="torn", worker="w", time_ms=0)
    gap = Record(0, len(evidence.letters), 500, None, b"", tuple(made.headers))
    results = {job_id: stored for job_id, stored in evidence.results.items() if job_id != evidence.accepted[n].id}
    lost = replace(evidence, outcomes=without(evidence, n), results=results, sightings={})
    torn = replace(lost, letters=[*evidence.letters, gap])
    assert promises(lost) == {"I1", "I5"}
    assert promises(torn) == {"I1"}
    assert not promises(replace(torn, unreadable=[(0, n)]))


def test_a_job_that_was_given_up_too_soon_is_found() -> None:
    evidence = good_life()
    n = of_kind(evidence, Kind.NO_MEMORY)
    assert promises(retold(evidence, n, told(evidence.accepted[n], attempts=3))) == {"I4"}


def test_an_innocent_that_paid_a_try_is_found_unless_we_made_it_pay() -> None:
    evidence = good_life()
    n = of_kind(evidence, Kind.ORDINARY)
    paid = retold(evidence, n, told(evidence.accepted[n], attempts=2))
    assert promises(paid) == {"I4"}
    assert not promises(replace(paid, deaths=1))


@pytest.mark.parametrize("kind", [Kind.HANGS, Kind.NO_MEMORY])
def test_a_job_that_ended_as_a_crash_without_one_is_found_unless_we_made_one(kind: Kind) -> None:
    evidence = good_life()
    n = once(evidence, kind)
    job = evidence.accepted[n]
    tries = job.job.expected.attempts[1]
    crashed = retold(evidence, n, told(job, Expected("failed", ErrorCode.ENGINE_CRASH), attempts=tries))
    assert paid_for_by_our_kill(crashed, job)


def test_a_retry_before_it_is_due_is_found() -> None:
    evidence = good_life()
    slower = replace(evidence.retries[RETRY], delay=60.0)
    assert promises(replace(evidence, retries={RETRY: slower})) == {"retries"}


@pytest.mark.parametrize("change", [{"value": b"other"}, {"headers": ("other", b"")}])
def test_a_retry_of_other_bytes_is_found(change: dict[str, Any]) -> None:
    evidence = good_life()
    records = list(evidence.retries[RETRY].records)
    n = next(n for n, record in enumerate(records) if record.headers[-1] == ("Of-Mine", b""))  # its job has headers
    if "headers" in change:
        change = {"headers": (*records[n].headers, change["headers"])}
    records[n] = replace(records[n], **change)
    assert promises(with_retries(evidence, records)) == {"retries"}


def test_retries_left_unread_are_found() -> None:
    evidence = good_life()
    held = replace(evidence.retries[RETRY], commits=[])
    assert promises(replace(evidence, retries={RETRY: held})) == {"I6"}


def test_a_question_for_the_time_that_nobody_read_is_no_lag() -> None:
    evidence = good_life()
    held = evidence.retries[RETRY]
    end = held.ends[0]
    probe = replace(held.records[-1], offset=end, key=None, value=None, headers=[(PROBE, b"1")])
    assert not promises(replace(evidence, retries={RETRY: replace(held, records=[*held.records, probe], ends={0: end + 1})}))


def test_a_commit_past_an_unsettled_retry_is_found() -> None:
    evidence = good_life()
    held = evidence.retries[RETRY]
    commits = [Commit(0, 1, held.records[0].time_ms), *held.commits]
    assert promises(replace(evidence, retries={RETRY: replace(held, commits=commits)})) == {"I5"}


def test_a_retry_of_nothing_that_was_submitted_is_found() -> None:
    evidence = good_life()
    records = evidence.retries[RETRY].records
    stray = retry(replace(evidence.accepted[0], offset=99_999), len(records), 2, time_ms=900)
    assert "stray" in promises(with_retries(evidence, [*records, stray]))


def test_a_job_that_expired_before_its_deadline_is_found() -> None:
    evidence = good_life()
    n = of_kind(evidence, Kind.HURRIED)
    hurried = evidence.accepted[n]
    expired = retold(evidence, n, told(hurried, EXPIRED))
    assert not promises(expired)
    value = told(hurried, EXPIRED)
    soon = [replace(one, time_ms=hurried.time_ms) if one.value == value else one for one in expired.outcomes]
    assert "I4" in promises(replace(expired, outcomes=soon))
