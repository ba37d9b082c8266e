"""The README's examples do what they say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.testing import FakeFleet


def block(root: Path, language: str) -> str:
    [text] = re.findall(rf"```{language}\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(text)


def test_the_python_example_runs(root: Path, fake_fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fleet.serve("digits", lambda inputs: {"probabilities": np.full((len(inputs["image"]), 10), 0.1, np.float32)})
    monkeypatch.setattr("penstock.Client", lambda *_addresses: fake_fleet.client())
    names: dict[str, Any] = {"image": np.zeros((1, 8, 8), np.float32)}
    exec(block(root, "python"), names)  # noqa: S102 - it is our own text
    assert names["outcome"]["probabilities"].shape == (1, 10)
    assert names["job"].id == names["outcome"].id == fake_fleet.jobs[0].id


def test_the_shell_example_writes_a_job(root: Path) -> None:
    stand_ins = 'kcat() { cat; }; redis-cli() { echo "$@" >&2; }\n'
    run = subprocess.run(["bash", "-c", stand_ins + block(root, "sh")], capture_output=True, text=True, check=True)
    job = json.loads(run.stdout)
    [image] = job["inputs"]
    assert len(image["data"]) == np.prod(image["shape"]) == 64
    assert run.stderr.split() == ["GET", f"penstock:result:{job['id']}"]
