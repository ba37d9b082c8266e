"""Owns the study of memory: ``python -m benchmarks.memory`` looks at what a worker holds while it does a million jobs.

Once as they come, at a rate that it keeps up with, and once out of a backlog. Beside that, what a bare process holds that has
imported TensorFlow, loaded the model and called it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.feed import feed
from benchmarks.processes import held_mb, last_line
from benchmarks.results import keep, slope
from benchmarks.site import Site, fill, open_site
from benchmarks.works import WORKS
from penstock.local.worker import LocalWorker
from penstock.topics import TopicManager
from penstock_schemas.settings import Settings

_WORK: Final = WORKS["mlp"]
_PATIENCE: Final = 600.0


class Look:
    """What is held, by how many jobs were done by then. ``besides``: keys in Redis that are no results."""

    def __init__(self, pid: int, store: Any, besides: int) -> None:
        self._pid = pid
        self._store = store
        self._besides = besides
        self.done: list[int] = []
        self.rss_mb: dict[str, list[float]] = {}

    def __call__(self) -> None:
        self.done.append(int(self._store.dbsize()) - self._besides)
        for role, held in held_mb(self._pid).items():
            self.rss_mb.setdefault(role, []).append(held)

    def until(self, count: int) -> None:
        """Look once a second until so many are done."""
        begin = time.perf_counter()
        while not self.done or self.done[-1] < count:
            if time.perf_counter() - begin > _PATIENCE:
                raise RuntimeError(f"{self.done[-1]:,} of {count:,} jobs are done after {_PATIENCE:.0f} s")
            time.sleep(1)
            self()

    def __str__(self) -> str:
        return "in MB, and how it grows a million jobs in the second half: " + "; ".join(
            f"{role} {held[0]:.0f}, at most {max(held):.0f}, {1e6 * slope(self.done, held):+.1f}"
            for role, held in self.rss_mb.items()
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=10_000, help="jobs a second, as they come")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        argv = [sys.executable, "-m", "benchmarks.limits", "start", _WORK.name, str(site.model(_WORK.model) / "1")]
        bare = json.loads(last_line(argv))["rss_mb"]["parent"]
        print(f"bare TensorFlow with the model holds {bare:.0f} MB", flush=True)
        steady = arriving(site, options.jobs, options.rate)
        print(f"{options.jobs:,} jobs as they come: {steady}", flush=True)
        backlog = waiting(site, options.jobs)
        print(f"{options.jobs:,} jobs out of a backlog: {backlog}")
    results = {name: {"done": look.done, "rss_mb": look.rss_mb} for name, look in (("steady", steady), ("backlog", backlog))}
    keep(options.json, options, {"bare_mb": bare, **results})


def arriving(site: Site, jobs: int, rate: float) -> Look:
    """A worker that gets ``rate`` jobs a second."""
    settings = _fleet(site, "steady")
    with _worker(site, settings) as look:
        feed(site.kafka.bootstrap, settings.names.jobs(), _WORK.value(), rate, jobs / rate, look)
        look()
    return look


def waiting(site: Site, jobs: int) -> Look:
    """A worker that starts before a backlog."""
    settings = _fleet(site, "backlog")
    fill(site.kafka.bootstrap, settings.names.jobs(), _WORK, jobs)
    with _worker(site, settings) as look:
        look.until(jobs)
    return look


def _fleet(site: Site, name: str) -> Settings:
    settings = site.settings(name, _WORK)
    TopicManager(settings).apply()
    return settings


@contextmanager
def _worker(site: Site, settings: Settings) -> Generator[Look]:
    with redis.Redis.from_url(site.store.url) as store:
        store.flushall()
        worker = LocalWorker(settings, folder=site.folder, log=site.folder / f"{settings.fleet}.log")
        worker.start()
        try:
            yield Look(worker.process.pid, store, settings.topics.outcome_partitions)
        finally:
            worker.stop()


if __name__ == "__main__":
    main()
