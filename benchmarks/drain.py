"""Owns letting a subject empty a backlog into Redis: its rate, and what every process used for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.processes import ROOT, Pids, by_role, cpu_seconds, family, rss_mb

_LOOK: Final = 0.05
_PATIENCE: Final = 600.0


def drain(
    argv: Sequence[str],
    log: Path,
    url: str,
    count: int,
    services: Pids,
    *,
    besides: int = 0,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Start ``argv`` and wait until Redis holds ``count`` results (and ``besides`` keys that are none).

    ``env``: its environment; None: our own. Rates and CPU count from the first result that can be read to the last. Raises
    RuntimeError where it ends before that.
    """
    store = redis.Redis.from_url(url)
    with log.open("wb") as said:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=said, stderr=said, env=env)
    try:
        return _watch(process, lambda: max(0, int(store.dbsize()) - besides), log, count, services)
    finally:
        end(process)
        store.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a subject to end; what it leaves behind is killed."""
    left = family(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in set(left.values()) - {process.pid}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _watch(process: subprocess.Popen[bytes], done: Callable[[], int], log: Path, count: int, services: Pids) -> dict[str, Any]:
    started = time.perf_counter()
    begin = first = 0.0
    before: dict[str, float] = {}
    while True:
        there, now = done(), time.perf_counter()
        if there > 0 and not begin:
            begin, first, before = now, there, cpu_seconds(family(process.pid) | dict(services))
        if there >= count:
            break
        if process.poll() is not None or now - started > _PATIENCE:
            raise RuntimeError(f"{there:,} of {count:,} jobs are done, and it goes no further: {log.read_text()[-2000:]}")
        time.sleep(_LOOK)
    mine = family(process.pid)
    after = cpu_seconds(mine | dict(services))
    jobs = count - first
    used = {name: (seconds - before.get(name, 0.0)) / jobs * 1e6 for name, seconds in after.items()}
    return {
        "per_second": jobs / (now - begin),
        "cpu_us": by_role(used),
        "rss_mb": by_role(rss_mb(mine)),
        "first_result_s": begin - started,
    }
