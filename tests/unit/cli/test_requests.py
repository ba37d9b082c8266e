"""What `penstock submit` makes of its files, and how outcomes are shown."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from penstock.cli.exits import CommandError
from penstock.cli.models import example_job
from penstock.cli.result import outcome_document, outcome_lines
from penstock.cli.submit import read_arrays, read_request
from penstock_schemas.ids import is_valid_id
from penstock_schemas.outcomes import Outcome, Timings

INPUTS = [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]


def write(folder: Path, document: object) -> str:
    file = folder / "request.json"
    file.write_bytes(orjson.dumps(document))
    return str(file)


def test_a_request_gets_the_model_and_an_id(tmp_path: Path) -> None:
    job_id, value = read_request(write(tmp_path, {"inputs": INPUTS}), "m", None)
    assert is_valid_id(job_id)
    assert orjson.loads(value) == {"inputs": INPUTS, "id": job_id, "model_name": "m"}


def test_a_requests_own_id_is_kept_unless_the_command_line_has_one(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": "a1", "model_name": "m", "inputs": INPUTS})
    assert read_request(file, "m", None)[0] == "a1"
    assert read_request(file, "m", "b2")[0] == "b2"


def test_a_request_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(b'{"id":"a1","inputs":[]}'))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read_request("-", "m", None)[0] == "a1"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "no inference request"),
        ({"data": 1}, "no inference request"),
        ({"id": "no spaces", "inputs": INPUTS}, "id 'no spaces' is not allowed"),
        ({"id": 7, "inputs": INPUTS}, "id 7 is not allowed"),
        ({"model_name": "other", "inputs": INPUTS}, "is for model 'other'"),
    ],
)
def test_a_request_that_cannot_be_is_told_before_it_is_sent(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(CommandError, match=said) as raised:
        read_request(write(tmp_path, document), "m", None)
    assert raised.value.code == 2


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("{")
    with pytest.raises(CommandError, match="is no JSON"):
        read_request(str(tmp_path / "f.json"), "m", None)


def test_arrays_are_named_by_the_argument_or_their_file(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((1, 2), np.float32))
    arrays = read_arrays([str(tmp_path / "image.npy"), f"mask={tmp_path / 'image.npy'}"])
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "image": ((1, 2), "float32"),
        "mask": ((1, 2), "float32"),
    }


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(CommandError, match=r"no \.npy file that can be read"):
        read_arrays([str(tmp_path / "image.npy")])


def test_an_example_job_fits_its_signature() -> None:
    job = orjson.loads(example_job("m", "other", [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]))
    assert job["inputs"] == [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]
    assert job["parameters"] == {"signature_name": "other"}


def test_an_outcome_is_shown_whole_as_json_and_in_short_to_people() -> None:
    outputs = {
        "p": np.arange(20, dtype=np.float32).reshape(1, 20),
        "text": np.array([b"caf\xc3\xa9"], object),
        "raw": np.array([b"\xff"], object),
    }
    outcome = Outcome(
        "a1", "succeeded", origin="t-0-1", model_name="m", model_version="3", timings=Timings(infer_us=1500, batch_rows=4)
    )
    outcome.outputs.update(outputs)
    document = orjson.loads(orjson.dumps(outcome_document(outcome)))
    assert [(one["name"], one["datatype"], one["shape"]) for one in document["outputs"]] == [
        ("p", "FP32", [1, 20]),
        ("text", "BYTES", [1]),
        ("raw", "BYTES", [1]),
    ]
    assert document["outputs"][0]["data"] == list(range(20))
    assert document["outputs"][1]["data"] == ["café"]
    assert document["outputs"][2]["data"] == ["/w=="]
    lines = "\n".join(outcome_lines(outcome))
    assert "a1  succeeded  (m 3, 1 attempt, from t-0-1)" in lines
    assert "15, …" in lines
    assert "infer 1.500 ms" in lines


def test_a_failed_outcome_says_why() -> None:
    outcome = Outcome("a1", "failed", error="what was wrong", error_code="invalid_job")
    assert outcome_document(outcome)["error_code"] == "invalid_job"
    assert "  invalid_job: what was wrong" in outcome_lines(outcome)


def test_the_outcome_of_a_redriven_job_says_which_generation_it_is_of() -> None:
    outcome = Outcome("a1", "failed", generation=2, attempts=3, origin="t-0-1", error="no", error_code="model_error")
    assert outcome_lines(outcome)[0] == "a1  failed  (no model, generation 2, 3 attempts, from t-0-1)"
