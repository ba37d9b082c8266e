"""Which letters' jobs go again, as what, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from tests.unit.dead.letters import TIME_MS, body, built, letter, read

from penstock.dead.filters import Filter
from penstock.dead.letters import DeadLetter, job_of
from penstock.dead.marks import REDRIVEN, Marks
from penstock.dead.mending import Checker, Mender
from penstock.dead.outcomes import parse_standing
from penstock.dead.paths import parse_assignment
from penstock.dead.plan import REASONS, Job, Left, Planner, Reason, Rules, Standing
from penstock.dead.redrive import BATCH, Pace, Redrive, Tally
from penstock_schemas.dead import build_gap_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header, parse_job_headers
from penstock_schemas.limits import Limits
from penstock_schemas.names import Names
from penstock_schemas.outcomes import encode_failed

TOPICS = frozenset({"penstock.jobs", "penstock.jobs.slow"})


def planner(mender: Mender | None = None, **rules: Any) -> Planner:
    return Planner(Rules(TOPICS, **rules), mender or Mender(), Checker(Limits()))


def job(letter: DeadLetter, **rules: Any) -> Job:
    planned = planner(**rules).plan(letter, TIME_MS)
    assert isinstance(planned, Job)
    return planned


def gap() -> DeadLetter:
    return read(build_gap_letter(topic="penstock.jobs", partition=0, first=1, last=2, reason="gone", worker="w", time_ms=0))


def test_a_job_goes_with_its_own_bytes_as_the_next_generation() -> None:
    own: list[Header] = [("traceparent", b"t"), ("odd", None), ("odd", b"\xff")]
    sent = job(letter("a1", topic="penstock.jobs.slow", offset=7, original=own))
    assert (sent.topic, sent.key, sent.value, sent.generation) == ("penstock.jobs.slow", b"a1", body(), 1)
    assert sent.headers == [
        ("penstock-id", b"a1"),
        ("penstock-generation", b"1"),
        ("penstock-redriven", b"penstock.jobs.slow-0-7/0/1"),
        *own,
    ]


def test_a_second_redrive_replaces_what_the_first_said() -> None:
    first = job(letter("a1", original=[("trace", b"t")]))
    second = job(letter("a1", offset=9, generation=1, attempt=4, original=first.headers))
    assert second.headers == [
        ("penstock-id", b"a1"),
        ("penstock-generation", b"2"),
        ("penstock-redriven", b"penstock.jobs-0-9/1/4"),
        ("trace", b"t"),
    ]
    told = parse_job_headers(second.headers)
    assert (told.id, told.generation, told.attempt, told.error) == (b"a1", 2, 1, None)


def test_headers_that_could_not_be_read_are_not_sent_on() -> None:
    sent = job(letter("a1", original=[("penstock-unreadable", b"1")]))
    assert parse_job_headers(sent.headers).error is None


def test_a_record_without_a_value_goes_without_one() -> None:
    assert job(letter(value=None)).value is None


@pytest.mark.parametrize(
    ("dead", "reason"),
    [
        (gap(), Reason.GAP),
        (letter(value=b"x" * 9000, max_bytes=2000), Reason.NO_BODY),
        (letter(topic="others.jobs"), Reason.NO_TOPIC),
        (letter(topic="penstock.jobsx"), Reason.NO_TOPIC),
        (letter(generation=3), Reason.GENERATION),
        (letter(generation=2), None),
        (letter(), None),
    ],
)
def test_letters_that_cannot_go(dead: DeadLetter, reason: Reason | None) -> None:
    assert planner().refuse(dead) is reason


def test_a_deadline_that_is_past_is_left_or_renewed_or_taken_away() -> None:
    past: list[Header] = [("CE_Deadline", b"2020-01-01T00:00:00Z"), ("x", b"y")]
    planned = planner().plan(letter(original=past), TIME_MS)
    assert isinstance(planned, Left)
    assert planned.reason is Reason.DEADLINE
    assert job(letter(original=past), deadline="none").headers[3:] == [("x", b"y")]
    renewed = job(letter(original=past), deadline=90.0).headers[3:]
    assert renewed == [("CE_Deadline", b"2027-01-15T08:01:30.000Z"), ("x", b"y")]
    assert job(letter(), deadline=90.0).headers[3:] == []
    future: list[Header] = [("ce_deadline", b"2999-01-01T00:00:00Z")]
    assert job(letter(original=future)).headers[3:] == future


def test_a_mended_body_is_checked_unless_it_is_forced() -> None:
    mender = Mender([parse_assignment("model_version=3")])
    left = planner(mender).plan(letter(), TIME_MS)
    assert isinstance(left, Left)
    assert left.reason is Reason.INVALID
    assert "it must be a string" in left.detail
    forced = planner(mender, force=True).plan(letter(), TIME_MS)
    assert isinstance(forced, Job)
    assert forced.changed


def test_a_body_that_was_wrong_before_and_is_not_mended_goes_as_it_is() -> None:
    assert job(letter(value=b"garbage")).value == b"garbage"


def test_a_job_that_its_new_headers_make_too_large_is_left() -> None:
    left = planner(max_job_bytes=300).plan(letter(), TIME_MS)
    assert isinstance(left, Left)
    assert left.reason is Reason.TOO_LARGE


def test_every_reason_is_explained() -> None:
    assert set(REASONS) == set(Reason)


def test_a_standing_is_the_letters_own_failure_or_something_else() -> None:
    error = JobError(ErrorCode.MODEL_ERROR, "x")
    origin = "penstock.jobs-0-0"
    own = parse_standing(encode_failed(id=b"a1", status="failed", error=error, origin=origin))
    assert own.is_failure_of(letter())
    others = [
        encode_failed(id=b"a1", status="expired", error=error, origin=origin),
        encode_failed(id=b"a1", status="failed", error=error, origin="penstock.jobs-0-1"),
        encode_failed(id=b"a1", status="failed", error=error, origin=origin, generation=1),
        encode_failed(id=b"a1", status="failed", error=JobError(ErrorCode.ENGINE_CRASH, "x"), origin=origin),
        b'{"status":"succeeded"}\n\xff',
        b"garbage",
        b"[]",
        b'{"generation":"x"}',
    ]
    assert not any(parse_standing(value).is_failure_of(letter()) for value in others)


class FakeTopic:
    """Letters in memory, in place of the topic."""

    def __init__(self, letters: Sequence[DeadLetter], redriven: Sequence[str] = ()) -> None:
        self._letters = letters
        self._redriven = redriven

    def letters(self, chosen: Filter) -> Iterator[DeadLetter]:
        return (one for one in self._letters if chosen.matches(one))

    def mark_redriven(self, marks: Marks, since_ms: int | None = None) -> None:
        for identity in self._redriven:
            marks.put(job_of(identity), REDRIVEN)


class FakeResults:
    def __init__(self, **values: bytes) -> None:
        self._values = values

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._values.get(key.rpartition(":")[2]) for key in keys]


def run(
    letters: Sequence[DeadLetter],
    *,
    redriven: Sequence[str] = (),
    results: FakeResults | None = None,
    chosen: Filter | None = None,
    limit: int | None = None,
    **rules: Any,
) -> tuple[Tally, list[list[str]]]:
    """The sum, and the ids of each transaction."""
    sent: list[list[str]] = []
    redrive = Redrive(
        cast("Any", FakeTopic(letters, redriven)),
        chosen or Filter(),
        planner(**rules),
        Names(),
        results,
        Pace(None, wait=lambda _: None),
        send=lambda jobs: sent.append([job.key.decode() for job in jobs]),
        limit=limit,
    )
    return redrive.run(), sent


def test_the_same_letter_twice_goes_once_and_is_counted_apart() -> None:
    tally, sent = run([letter("a"), letter("b", offset=1), letter("a"), gap(), gap()])
    assert sent == [["a", "b"]]
    assert tally.left == {Reason.REPEAT: 2, Reason.GAP: 1}
    assert tally.matched == 5


def test_another_attempt_of_a_job_that_goes_does_not_go_too() -> None:
    tally, sent = run([letter("a", attempt=1), letter("a", attempt=2)])
    assert (sent, tally.left) == ([["a"]], {Reason.REPEAT: 1})


def test_of_two_attempts_the_one_goes_that_the_result_tells_of() -> None:
    crash = JobError(ErrorCode.ENGINE_CRASH, "x")
    value = encode_failed(id=b"a", status="failed", error=crash, origin="penstock.jobs-0-0")
    tally, sent = run([letter("a", attempt=1), letter("a", attempt=2, error=crash)], results=FakeResults(a=value))
    assert (sent, tally.left) == ([["a"]], {Reason.OUTCOME: 1})
    assert tally.examples[Reason.OUTCOME][0].detail == "failed (engine_crash), generation 0"


def test_a_job_without_a_result_any_more_may_go() -> None:
    assert run([letter("a")], results=FakeResults())[1] == [["a"]]


def test_what_was_redriven_is_left_unless_told_otherwise() -> None:
    letters = [letter("a"), letter("b", offset=1)]
    redriven = ["penstock.jobs-0-0/0/1"]
    tally, sent = run(letters, redriven=redriven)
    assert (sent, tally.left) == ([["b"]], {Reason.REDRIVEN: 1})
    assert run(letters, redriven=redriven, again=True)[1] == [["a", "b"]]
    only = Filter(redriven=True)
    assert run(letters, redriven=redriven, again=True, chosen=only)[1] == [["a"]]
    tally, sent = run(letters, redriven=redriven, chosen=Filter(redriven=False))
    assert (sent, tally.matched) == ([["b"]], 1)


def test_transactions_are_bounded_in_number_and_bytes() -> None:
    _, sent = run([letter(str(number), offset=number) for number in range(2 * BATCH + 1)])
    assert [len(batch) for batch in sent] == [BATCH, BATCH, 1]
    _, sent = run([letter(str(number), b"x" * 5_000_000, offset=number, max_bytes=6_000_000) for number in range(3)],
                  max_job_bytes=6_000_000)  # fmt: skip
    assert sent == [["0"], ["1"], ["2"]]


@pytest.mark.parametrize("limit", [1, 3, BATCH, BATCH + 3])
def test_a_limit_is_kept_exactly(limit: int) -> None:
    letters = [letter(str(number), offset=number, generation=number % 4) for number in range(2 * BATCH)]
    tally, sent = run(letters, limit=limit)
    assert sum(map(len, sent)) == tally.going.letters == limit


def test_the_pace_spreads_jobs_over_time() -> None:
    now = [100.0]
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pace = Pace(10.0, wait=wait, clock=lambda: now[0])
    assert pace.batch == 10
    for _ in range(3):
        pace.take(10)
    assert waits == [1.0, 1.0]
    now[0] += 60  # time that passed unused is not caught up with
    pace.take(10)
    pace.take(10)
    assert waits == [1.0, 1.0, 1.0]
    assert Pace(0.5, wait=wait).batch == 1


def test_what_is_left_is_told_with_examples() -> None:
    tally = Tally()
    for number in range(5):
        tally.leave(Left(letter(f"a{number}"), Reason.INVALID, f"wrong {number}"))
    tally.leave(Left(gap(), Reason.GAP))
    lines = tally.left_lines()
    assert lines[0].split() == ["5", *REASONS[Reason.INVALID].split()]
    assert [line.strip() for line in lines[1:4]] == ["a0: wrong 0", "a1: wrong 1", "a2: wrong 2"]
    assert lines[4].split()[0] == "1"


def test_a_standing_that_is_no_outcome_fits_no_letter() -> None:
    assert not Standing("failed", 0, None, None).is_failure_of(letter())
    assert built().key == b"a1"
