"""A real worker with TensorFlow serves whatever TF Serving would, in every form a job may have."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.integration.worker.fleet import Fleet, job, letter_headers, names

from penstock_schemas.dead import parse_letter
from penstock_schemas.jobs import RequestedOutput, encode_job
from penstock_schemas.outcomes import Outcome


def answer(fleet: Fleet, job_id: str, inputs: dict[str, Any], **request: Any) -> Outcome:
    fleet.publish(encode_job({name: np.asarray(value) for name, value in inputs.items()}, **request), job_id)
    fleet.flush()
    outcome = fleet.outcome(job_id)
    assert outcome.status == "succeeded", outcome.error
    return outcome


def strings(*elements: bytes) -> np.ndarray[Any, Any]:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


@pytest.mark.parametrize("binary", [True, False])
def test_a_saved_model_answers_in_the_form_it_was_asked_in(real: Fleet, *, binary: bool) -> None:
    outcome = answer(real, f"form-{binary}", {"x": np.ones((2, 4), np.float32)}, model_name="rows", binary=binary)
    assert outcome["y"].tolist() == [[3.0] * 4] * 2
    assert outcome["y"].dtype == np.float32
    assert (outcome.model_name, outcome.model_version, outcome.attempts) == ("rows", "3", 1)
    timings = outcome.timings
    assert timings is not None
    assert timings.infer_us > 0


def test_a_record_that_holds_nothing_but_json_is_a_job(real: Fleet) -> None:
    inputs = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    real.publish(json.dumps({"id": "kcat-1", "model_name": "rows", "inputs": inputs}).encode())
    real.flush()
    assert real.outcome("kcat-1")["y"].tolist() == [[3, 6, 9, 12]]


def test_a_job_may_name_its_version_and_the_latest_alone_may_be_served(real: Fleet) -> None:
    x = {"x": np.ones((1, 4), np.float32)}
    assert answer(real, "v1", x, model_name="rows", model_version="1")["y"][0, 0] == 1
    assert answer(real, "v2", x, model_name="rows", model_version="2").model_version == "2"
    assert answer(real, "latest", x, model_name="latest").model_version == "3"
    real.publish(job(1, model_name="latest", model_version="1"), "not-served")
    real.flush()
    assert real.outcome("not-served").error == "model 'latest' is not served in version '1': it is in 3"


def test_signatures_with_and_without_free_rows(real: Fleet) -> None:
    x = np.arange(4, dtype=np.float32)
    total = answer(real, "total", {"x": np.stack([x, x])}, model_name="rows", signature="total")
    assert total["total"].tolist() == [6, 6]
    for number in range(3):
        real.publish(encode_job({"x": x + number}, model_name="rows", signature="flat"), f"flat-{number}")
    real.flush()
    flat = real.outcomes(*names("flat", range(3)))
    assert [outcome["y"].tolist() for outcome in flat] == [[3 + n, 2 + n, 1 + n, n] for n in range(3)]
    assert all(outcome.timings is not None and outcome.timings.batch_rows == 1 for outcome in flat)


@pytest.mark.parametrize("binary", [True, False])
def test_scalar_outputs_keep_their_bytes(real: Fleet, *, binary: bool) -> None:
    x = {"x": np.ones(2, np.float32)}
    outcome = answer(real, f"label-{binary}", x, model_name="rows", signature="label", binary=binary)
    assert outcome["label"].tolist() == b"zero\0"
    assert outcome["any"].tolist() is True


@pytest.mark.parametrize("binary", [True, False])
def test_strings_in_and_out(real: Fleet, *, binary: bool) -> None:
    s = strings(b"abc", b"", "grün".encode(), b"\xff\x00")
    outcome = answer(real, f"text-{binary}", {"s": s}, model_name="text", binary=binary)
    assert outcome["upper"].tolist() == [b"ABC", b"", "GRüN".encode(), b"\xff\x00"]
    assert outcome["size"].tolist() == [3, 0, 5, 2]


def test_dynamic_inner_dimensions_and_several_inputs_and_outputs(real: Fleet) -> None:
    for width in (2, 3, 0):
        a, b = np.full((2, width), 1.5, np.float32), np.array([2**60, width])
        real.publish(encode_job({"a": a, "b": b}, model_name="wide"), f"wide-{width}")
        real.publish(encode_job({"b": b, "a": a}, model_name="wide"), f"turned-{width}")
    real.flush()
    for width in (2, 3):
        for outcome in real.outcomes(f"wide-{width}", f"turned-{width}"):
            assert outcome["mean"].tolist() == [1.5, 1.5]
            assert outcome["b2"].tolist() == [2**61, 2 * width]
    empty = real.outcome("wide-0")
    assert empty.error_code == "non_finite_output", "the mean of nothing is no number"
    chosen = answer(
        real, "chosen", {"a": np.ones((1, 2), np.float32), "b": np.ones(1, np.int64)}, model_name="wide",
        outputs=[RequestedOutput("b2")],
    )  # fmt: skip
    assert list(chosen.outputs) == ["b2"]


def test_a_keras_file(real: Fleet) -> None:
    a, b = np.array([[1, 2], [3, 4]], np.float32), np.ones((2, 2), np.float32)
    outcome = answer(real, "keras", {"a": a, "b": b}, model_name="two")
    assert outcome["sum"].tolist() == [[2, 3], [4, 5]]
    assert outcome["difference"].tolist() == [[0, 1], [2, 3]]


def test_a_saved_model_that_only_the_version_1_loader_reads(real: Fleet) -> None:
    outcome = answer(real, "old", {"x": np.ones((3, 4), np.float32)}, model_name="old")
    assert outcome["y"].tolist() == [[10.0] * 4] * 3


def test_jobs_of_any_size_come_back_whole(real: Fleet) -> None:
    sizes = [1, 21, 3, 8, 2, 9, 1, 1, 1]
    for number, rows in enumerate(sizes):
        x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) + 100 * number
        real.publish(encode_job({"x": x}, model_name="rows", model_version="1"), f"size-{number}")
    real.flush()
    for number, outcome in enumerate(real.outcomes(*names("size", range(len(sizes))))):
        assert outcome["y"].tolist() == (np.arange(sizes[number] * 4).reshape(-1, 4) + 100 * number).tolist()


def test_a_transform_that_raises_on_one_job_fails_that_job_alone(real: Fleet) -> None:
    values = [1, 2, -3, 4, 5]
    for number, value in enumerate(values):
        real.publish(job(value, model_name="picky"), f"picky-{number}", partition=0)
    real.flush()
    outcomes = real.outcomes(*names("picky", range(5)))
    for value, outcome in zip(values, outcomes, strict=True):
        if value < 0:
            assert outcome.error_code == "transform_error"
            assert "preprocess raised ValueError: x must be at least 0" in (outcome.error or "")
        else:
            assert outcome["y"].tolist() == [[100.0 * value] * 4]
    letter = real.letters("picky-2")["picky-2"]
    assert letter.value() == job(-3, model_name="picky")
    assert "Traceback" in (parse_letter(letter_headers(letter)).evidence or "")


def test_a_transform_may_stand_between_other_inputs_and_outputs(real: Fleet) -> None:
    outcome = answer(real, "words", {"word": strings(b"three", b"", b"four")}, model_name="words")
    assert outcome["said"].tolist() == [b"5 bytes", b"0 bytes", b"4 bytes"]
