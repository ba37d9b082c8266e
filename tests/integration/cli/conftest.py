"""Owns a fleet kept up by `penstock up` for the tests of this folder, and running `penstock` against it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support import missing

from penstock.local.jars import why_not
from penstock.local.process import free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Fleet:
    """`penstock up` as a process. ``kafka`` and ``redis`` are where it said it is."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, environment: dict[str, str], line: str) -> None:
        self.process = process
        self.folder = folder
        self.line = line
        words = line.split()
        self.kafka, self.redis = words[words.index("kafka") + 1], words[words.index("redis") + 1]
        self._environment = {**environment, "PENSTOCK_KAFKA__BOOTSTRAP_SERVERS": self.kafka, "PENSTOCK_REDIS__URL": self.redis}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`penstock` with these arguments, in a folder without a penstock.toml."""
        return penstock(arguments, self.folder, self._environment, stdin)


def penstock(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(argv, input=stdin, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def clean_environment() -> dict[str, str]:
    """This process' environment without what would configure a fleet."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}


@pytest.fixture(scope="session")
def up(digits_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of Apache Kafka, Redis and one worker that serves ``digits``."""
    if (obstacle := why_not()) is not None:
        missing(obstacle)
    folder = tmp_path_factory.mktemp("up")
    environment = clean_environment()
    ports = ["--kafka-port", str(free_port()), "--redis-port", str(free_port())]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "up", "--kafka", "apache", *ports, "--model", f"digits={digits_model}"],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=environment,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "up.log").read_text()
        yield Fleet(process, folder, environment, line)
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=90)[0]
    assert rest == "", "one line with the addresses is all that goes to stdout"
    assert process.returncode == 0, (folder / "up.log").read_text()
