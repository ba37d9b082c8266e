"""Jobs that cannot be done end as a dead letter with their bytes untouched, then as a failed outcome; neighbours succeed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.integration.worker.fleet import Fleet, job, letter_headers

from penstock_schemas.dead import parse_letter
from penstock_schemas.jobs import encode_job

HEADERS: list[tuple[str, bytes | None]] = [("traceparent", b"00-1"), ("mine", None), ("mine", b"\xff")]

BAD: dict[str, tuple[bytes | None, str, str]] = {
    "garbage": (b"\x00\xffgarbage", "invalid_job", "JSON"),
    "empty": (b"", "invalid_job", "the record's value is empty; it must be an Open Inference Protocol request"),
    "null": (None, "invalid_job", "the record has no value (null); it must be an Open Inference Protocol request"),
    "unknown-model": (
        job(1, model_name="nobody"),
        "unknown_model",
        "the fleet serves no model 'nobody': it serves latest, old,",
    ),
    "no-model": (job(1), "unknown_model", "the job names no model_name, and the fleet serves several:"),
    "unknown-signature": (job(1, model_name="rows", signature="s"), "unknown_signature", "model 'rows' has no signature 's'"),
    "wrong-shape": (
        encode_job({"x": np.ones((1, 5), np.float32)}, model_name="rows"),
        "invalid_input",
        "model 'rows': input 'x' has shape [1, 5], the model takes [-1, 4]",
    ),
    "wrong-type": (
        encode_job({"x": np.ones((1, 4))}, model_name="rows"),
        "invalid_input",
        "model 'rows': input 'x' has datatype FP64, the model takes FP32 [-1, 4]",
    ),
    "no-number": (
        encode_job({"s": np.array([b"abc"], object)}, model_name="text", signature="number"),
        "model_error",
        "refused these values: InvalidArgumentError: StringToNumberOp could not correctly convert string: abc",
    ),
    "nan": (job(float("nan"), model_name="rows"), "non_finite_input", "input 'x' holds NaN or infinity"),
    "overflow": (job(3e38, model_name="rows"), "non_finite_output", "output 'y' of model 'rows' holds NaN or infinity"),
}


@pytest.fixture(scope="module")
def published(real: Fleet) -> Fleet:
    """Each bad job between two good ones, all in one partition."""
    for number, (name, (value, _, _)) in enumerate(BAD.items()):
        real.publish(job(number, model_name="rows"), f"good-{number}", partition=1)
        real.publish(value, f"bad-{name}", headers=HEADERS, partition=1)
    real.publish(b"garbage", partition=1)  # nothing tells its id
    real.publish(job(99, model_name="rows"), "good-last", partition=1)
    real.flush()
    return real


@pytest.mark.parametrize("name", BAD)
def test_a_bad_job_ends_as_a_letter_and_a_failed_outcome(published: Fleet, name: str) -> None:
    value, code, sentence = BAD[name]
    outcome = published.outcome(f"bad-{name}")
    assert (outcome.status, outcome.error_code) == ("failed", code)
    assert sentence in (outcome.error or "")
    letter = published.letters(f"bad-{name}")[f"bad-{name}"]
    assert (letter.value() or b"") == (value or b"")
    headers = letter_headers(letter)
    assert headers[-3:] == HEADERS
    facts = parse_letter(headers)
    assert (facts.id, facts.error_code, facts.error) == (f"bad-{name}", code, outcome.error)
    assert facts.origin == outcome.origin
    assert (outcome.origin or "").startswith(f"{published.settings.names.jobs()}-1-")


def test_a_job_whose_id_nothing_tells_gets_a_derived_one(published: Fleet) -> None:
    published.outcome("good-last")
    derived = [key for key in published.answered() if key is not None and key.startswith("~1-")]
    assert len(derived) == 1
    assert published.outcome(derived[0]).error_code == "invalid_job"


def test_the_neighbours_of_bad_jobs_succeed(published: Fleet) -> None:
    outcomes = published.outcomes(*[f"good-{number}" for number in range(len(BAD))], "good-last")
    assert [outcome["y"][0, 0] for outcome in outcomes] == [*(3.0 * number for number in range(len(BAD))), 297]


def test_a_late_job_expires_and_leaves_no_letter(real: Fleet) -> None:
    real.publish(job(1, model_name="rows"), "late", headers=[("ce_deadline", b"2020-01-01T00:00:00Z")])
    real.flush()
    outcome = real.outcome("late")
    assert (outcome.status, outcome.error_code) == ("expired", "deadline_exceeded")
