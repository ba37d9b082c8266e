"""What `penstock models` and `doctor` ask: the declared models, loaded once, as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.backends.numpy_models import write_model
from tests.integration.worker.fleet import BACKENDS


def test_models_are_described_with_their_signatures_or_with_what_is_wrong(tmp_path: Path) -> None:
    write_model(tmp_path / "m", "9")
    write_model(tmp_path / "m", "10")
    (tmp_path / "penstock.toml").write_text('[worker]\nbackend = "numpy_models"\n')
    argv = [sys.executable, "-m", "penstock_worker.engine.describe", "--config", str(tmp_path / "penstock.toml")]
    argv += ["--model", f"m={tmp_path / 'm'}", "--model", f"gone={tmp_path / 'gone'}"]
    asked = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(BACKENDS)}, capture_output=True, timeout=100, check=True)
    described = {model["name"]: model for model in json.loads(asked.stdout)["models"]}
    assert described["gone"] == {
        "name": "gone",
        "error": f"model 'gone': there is no folder {tmp_path / 'gone'}",
        "versions": [],
    }
    assert described["m"]["error"] is None
    assert [version["version"] for version in described["m"]["versions"]] == ["9", "10"]
    assert described["m"]["versions"][0]["signatures"] == {
        "serving_default": {
            "batched": True,
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [-1, 4]},
                {"name": "rows", "datatype": "INT64", "shape": [-1]},
            ],
        }
    }
