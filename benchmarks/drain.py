"""Owns a subject that runs: started, watched while it empties a backlog into Redis, and ended with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import ROOT, Pids, cpu_seconds, cpu_us, family, held_mb

_LOOK: Final = 0.05
_PATIENCE: Final = 600.0
_FIRST: Final = 120.0
"""Seconds that a first result may take."""


@dataclass(frozen=True, slots=True)
class Running:
    """A subject's main process, and where what it says goes."""

    process: subprocess.Popen[bytes]
    log: Path
    since: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self, what: str, patience: float = _PATIENCE) -> None:
        """Raises RuntimeError where it has ended, or takes longer than ``patience`` seconds since its start."""
        if self.process.poll() is not None or time.perf_counter() - self.since > patience:
            raise RuntimeError(f"{what}, and it goes no further: {self.log.read_text(errors='replace')[-2000:]}")

    def first_result_s(self, there: Callable[[], bool]) -> float:
        """Wait until the result of a first job is ``there``: seconds from the start."""
        while not there():
            self.check("its first job is not done", _FIRST)
            time.sleep(0.01)
        return time.perf_counter() - self.since


@contextmanager
def running(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Generator[Running]:
    """Start ``argv`` (``env``: its environment; None: our own). At the end it is asked to end; what it leaves is killed."""
    since = time.perf_counter()
    with log.open("wb") as said:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=said, stderr=said, env=env)
    try:
        yield Running(process, log, since)
    finally:
        left = set(family(process.pid).values()) - {process.pid}
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def drain(subject: Running, done: Callable[[], int], count: int, services: Pids) -> dict[str, Any]:
    """Wait until ``count`` results are ``done``. Rates and CPU count from the first result that can be read to the last.

    Raises RuntimeError where the subject ends before that, or takes ten minutes.
    """
    begin = first = 0.0
    before: dict[str, float] = {}
    while True:
        there, now = done(), time.perf_counter()
        if there > 0 and not begin:
            begin, first, before = now, there, cpu_seconds(family(subject.pid) | dict(services))
        if there >= count:
            break
        subject.check(f"{there:,} of {count:,} jobs are done")
        time.sleep(_LOOK)
    after = cpu_seconds(family(subject.pid) | dict(services))
    jobs = count - first
    figures = {"per_second": jobs / (now - begin), "first_result_s": begin - subject.since}
    return figures | {"cpu_us": cpu_us(before, after, jobs), "rss_mb": held_mb(subject.pid)}
