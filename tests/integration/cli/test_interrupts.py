"""Ctrl-C at any moment leaves neither a process nor a temporary folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.support import eventually, missing

from penstock.local.jars import cache_folder, why_not


class Demo:
    """`penstock demo` with a temporary folder of its own, in a process group of its own as a terminal would have it."""

    def __init__(self, folder: Path, *, cache: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.output = folder / "output"
        environment = {**os.environ, "TMPDIR": str(self.temporary), "XDG_CACHE_HOME": str(cache), "COLUMNS": "100"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "penstock", "demo", "--kafka", "apache"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.seen: dict[int, psutil.Process] = {self.process.pid: psutil.Process(self.process.pid)}

    def descends(self, *words: str) -> bool:
        """Whether a process with all ``words`` in its command line is among its descendants now; remembers all it sees."""
        found = False
        for child in psutil.Process(self.process.pid).children(recursive=True):
            self.seen[child.pid] = child
            try:
                line = " ".join(child.cmdline())
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            found = found or (all(word in line for word in words) and not line.startswith("/bin/sh"))
        return found

    def says(self, words: str) -> bool:
        self.descends()
        return words in self.output.read_text(errors="replace")

    def left(self) -> list[psutil.Process]:
        """What of all that was ever seen is still there (psutil knows a process from another of the same id)."""
        return [one for one in self.seen.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def make(**options: Path) -> Demo:
        started.append(Demo(tmp_path, **options))
        return started[-1]

    if (obstacle := why_not()) is not None:
        missing(obstacle)
    yield make
    for demo in started:
        for process in demo.left():
            process.kill()
        demo.process.wait()


pytestmark = pytest.mark.timeout(300)  # a demo on a busy machine

MOMENTS: dict[str, Callable[[Demo], bool]] = {
    "Maven fetches": lambda demo: demo.descends("maven-dependency-plugin"),
    "the model trains": lambda demo: demo.descends("train.py"),
    "Kafka starts": lambda demo: demo.descends("kafka.Kafka"),
    "the worker starts": lambda demo: demo.descends("penstock_worker.engine"),
    "jobs are on their way": lambda demo: demo.says("steady, 100 jobs/s"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_leaves_nothing_behind(moment: str, start: Callable[..., Demo], tmp_path: Path) -> None:
    fresh = moment == "Maven fetches"
    demo = start(cache=tmp_path / "cache" if fresh else cache_folder().parent)
    reached = MOMENTS[moment]
    eventually(lambda: demo.process.poll() is not None or reached(demo), moment, timeout=240)
    assert demo.process.poll() is None, demo.output.read_text()
    assert list(demo.temporary.iterdir())
    demo.descends()
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.process.wait(60) == 130, demo.output.read_text()
    assert demo.left() == []
    assert list(demo.temporary.iterdir()) == []
    assert "Traceback" not in demo.output.read_text()
    if fresh:
        assert list((tmp_path / "cache" / "penstock").iterdir()) == []


def test_a_second_ctrl_c_does_not_tear_apart_what_the_first_set_going(start: Callable[..., Demo]) -> None:
    demo = start(cache=cache_folder().parent)
    eventually(lambda: demo.descends("kafka.Kafka"), "Kafka starts", timeout=240)
    for _ in range(20):
        if demo.process.poll() is None:
            os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.process.wait(60) == 130, demo.output.read_text()
    assert demo.left() == []
    assert list(demo.temporary.iterdir()) == []
