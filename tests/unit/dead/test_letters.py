"""What a record of the dead-letter topic is: a letter, a gap, or the record of a redrive, whatever a job says of itself."""

from __future__ import annotations

import pytest
from tests.unit.dead.letters import HOUR_MS, TIME_MS, built, letter, read, record

from penstock.dead.filters import Filter, parse_moment
from penstock.dead.histogram import MOST_MODELS, MOST_SENTENCES, OTHERS, Histogram, Sentences
from penstock.dead.letters import Audit, Record, read_audit, read_record
from penstock.dead.marks import REDRIVEN, SEEN, Marks
from penstock_schemas.dead import build_gap_letter, build_redriven
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header


def gap() -> Record:
    made = build_gap_letter(topic="penstock.jobs", partition=1, first=5, last=9, reason="deleted", worker="w", time_ms=TIME_MS)
    return record(made)


def test_the_record_of_a_redrive_is_no_letter() -> None:
    made = record(build_redriven("penstock.jobs-0-1/0/2", by="me@here", time_ms=TIME_MS, generation=1))
    audit = read_record(made)
    assert isinstance(audit, Audit)
    assert (audit.identity, audit.by, audit.generation) == ("penstock.jobs-0-1/0/2", "me@here", 1)
    assert read_audit(made) == audit
    assert read_audit(record(built())) is None
    assert (audit.id, audit.model, audit.reason) == (None, None, None)  # of a record that says no more


def test_the_record_of_a_redrive_says_whose_job_it_was_and_why() -> None:
    made = build_redriven("j-0-1/0/2", by="me", time_ms=0, generation=1, job_id="a1", model="double", reason="version 9 é")
    audit = read_audit(record(made))
    assert audit is not None
    assert (audit.id, audit.model, audit.reason) == ("a1", "double", "version 9 é")
    for chosen, fits in (
        (Filter(), True),
        (Filter(ids=frozenset({"a1"}), models=frozenset({"double"})), True),
        (Filter(ids=frozenset({"a"})), False),
        (Filter(models=frozenset({"other"})), False),
        (Filter(since_ms=TIME_MS + 1), False),
        (Filter(until_ms=TIME_MS), False),
    ):
        assert chosen.matches_redrive(audit) is fits, chosen


def test_a_letter_of_a_job_that_was_redriven_is_a_letter() -> None:
    own: list[Header] = [("penstock-id", b"a1"), ("penstock-generation", b"1"), ("penstock-redriven", b"x-0-1/0/1")]
    found = letter(generation=1, original=own)
    assert found.identity == "penstock.jobs-0-0/1/1"
    assert list(found.own) == own
    assert read_audit(record(built(generation=1, original=own))) is None


def test_what_a_job_says_under_our_names_is_not_taken_for_a_workers_word() -> None:
    own: list[Header] = [("x", b""), ("penstock-gap", b"1-1000000"), ("penstock-digest", b"00"), ("penstock-redriven", b"x")]
    found = letter(original=own)
    assert not found.is_gap
    assert found.has_body
    assert found.code == "model_error"
    assert list(found.own) == own


def test_a_gap_counts_its_records_and_has_no_body() -> None:
    found = read_record(gap())
    assert not isinstance(found, Audit)
    assert (found.is_gap, found.gap_records, found.code, found.has_body) == (True, 5, "gap", False)


def test_a_body_that_was_not_kept_is_told_from_an_empty_one() -> None:
    dropped = letter(value=b"x" * 5000, max_bytes=2000)
    assert (dropped.has_body, dropped.size) == (False, 5000)
    null = letter(value=None)
    assert (null.has_body, null.body, null.size) == (True, None, 0)


def test_records_of_somebody_else_are_letters_that_say_little() -> None:
    found = read_record(Record("penstock.dead", 2, 7, TIME_MS, b"k", b"v", [("a", None)]))
    assert not isinstance(found, Audit)
    assert (found.id, found.identity, found.code) == (None, "penstock.dead-2-7", "none")
    assert read_audit(Record("penstock.dead", 2, 7, TIME_MS, None, None, [])) is None


@pytest.mark.parametrize(
    ("chosen", "fits"),
    [
        (Filter(), True),
        (Filter(models=frozenset({"double", "other"})), True),
        (Filter(models=frozenset({"other"})), False),
        (Filter(codes=frozenset({"model_error"})), True),
        (Filter(codes=frozenset({"engine_crash"})), False),
        (Filter(ids=frozenset({"a1"})), True),
        (Filter(ids=frozenset({"a"})), False),
        (Filter(text="MUST not"), True),
        (Filter(text="jobs-0-0"), True),
        (Filter(text="nowhere"), False),
        (Filter(since_ms=TIME_MS), True),
        (Filter(since_ms=TIME_MS + 1), False),
        (Filter(until_ms=TIME_MS), False),
        (Filter(until_ms=TIME_MS + 1), True),
        (Filter(models=frozenset({"double"}), text="nowhere"), False),
    ],
)
def test_filters(chosen: Filter, fits: bool) -> None:
    assert chosen.matches(letter()) is fits


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("15m", TIME_MS - 900_000),
        ("2h ago", TIME_MS - 2 * HOUR_MS),
        ("3d", TIME_MS - 72 * HOUR_MS),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
    ],
)
def test_moments(text: str, moment: int) -> None:
    assert parse_moment(text, TIME_MS) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "15", "-3h", "2026-01-01", "2026-99-01T00:00:00Z", "٣h"])
def test_what_is_no_moment_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339"):
        parse_moment(text, TIME_MS)


def test_the_histogram_counts_by_model_code_and_hour() -> None:
    histogram = Histogram()
    crash = JobError(ErrorCode.ENGINE_CRASH, "x")
    for time_ms in (TIME_MS, TIME_MS, TIME_MS + HOUR_MS):
        histogram.add(letter(timestamp_ms=time_ms))
    histogram.add(letter(error=crash, timestamp_ms=TIME_MS))
    found = read_record(gap())
    assert not isinstance(found, Audit)
    histogram.add(found)
    document = histogram.document()
    assert (document["letters"], document["gap_records"]) == (5, 5)
    assert document["codes"] == {"engine_crash": 1, "gap": 1, "model_error": 3}
    assert [(row["model"], row["code"], row["hour"], row["letters"]) for row in document["counts"]] == [
        ("(no model)", "gap", "2027-01-15T08:00:00.000Z", 1),
        ("double", "engine_crash", "2027-01-15T08:00:00.000Z", 1),
        ("double", "model_error", "2027-01-15T08:00:00.000Z", 2),
        ("double", "model_error", "2027-01-15T09:00:00.000Z", 1),
    ]
    words = [line.split() for line in histogram.lines()]
    assert ["hour", "(UTC)", "engine_crash", "model_error", "total"] in words
    assert ["2027-01-15", "08:00", "1", "2", "3"] in words
    assert ["total", "1", "3", "4"] in words


def test_the_histogram_is_bounded_however_many_models_are_asked_for() -> None:
    histogram = Histogram()
    for number in range(MOST_MODELS + 50):
        histogram.add(letter(model=f"m{number}"))
    models = {row["model"]: row["letters"] for row in histogram.document()["counts"]}
    assert len(models) == MOST_MODELS + 1
    assert models[OTHERS] == 50


def test_sentences_are_counted_word_for_word_most_frequent_first() -> None:
    sentences = Sentences()
    for said in (
        "input 'x' is missing",
        "input 'x' has shape [1, 3]",
        "input 'x' has shape [1, 3]",
        "input 'x' has shape [1, 4]",
    ):
        sentences.add(letter(error=JobError(ErrorCode.INVALID_INPUT, said)))
    assert sentences.rows()[0] == ("2", "invalid_input", "double", "input 'x' has shape [1, 3]")
    assert len(sentences.rows()) == 3
    assert sentences.document()["letters"] == 4
    assert sentences.document()["counts"][0] == {
        "model": "double",
        "code": "invalid_input",
        "error": "input 'x' has shape [1, 3]",
        "letters": 2,
    }


def test_sentences_are_bounded_and_the_rest_is_counted() -> None:
    sentences = Sentences()
    for number in range(MOST_SENTENCES + 50):
        sentences.add(letter(error=JobError(ErrorCode.MODEL_ERROR, f"x is {number}")))
    sentences.add(letter(error=JobError(ErrorCode.MODEL_ERROR, "x is 7")))
    assert (sentences.letters, sentences.others, len(sentences.rows())) == (MOST_SENTENCES + 51, 50, MOST_SENTENCES + 1)
    assert sentences.rows()[0][3] == "x is 7"
    assert sentences.rows()[-1][0] == "50"


def test_marks_are_kept_apart_and_grow() -> None:
    marks = Marks()
    names = [f"penstock.jobs-0-{number}/0/1" for number in range(20_000)]
    assert all(marks.put(name, SEEN) for name in names)
    assert not any(marks.put(name, SEEN) for name in names[:100])
    assert marks.put(names[7], REDRIVEN)
    assert [marks.of(name) for name in names[6:9]] == [SEEN, SEEN | REDRIVEN, SEEN]
    assert marks.of("another") == 0
    assert len(marks) == len(names)
    assert marks.nbytes <= 22 * len(names)


def test_marks_of_one_place_do_not_hide_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.dead.marks._digest", lambda name: (int(name) << 40) | 4)  # all fall on one slot
    marks = Marks()
    assert all(marks.put(str(number), SEEN) for number in range(1, 2000))
    assert all(marks.of(str(number)) == SEEN for number in range(1, 2000))
    assert marks.of("2000") == 0


def test_a_letter_reads_like_what_was_written() -> None:
    found = read(built("b2", attempt=2, generation=1, offset=9))
    document = found.document()
    assert document["identity"] == "penstock.jobs-0-9/1/2"
    assert (document["id"], document["code"], document["model"], document["attempt"]) == ("b2", "model_error", "double", 2)
    assert document["bytes"] == len(found.body or b"")
    assert document["failures"][0]["code"] == "model_error"
