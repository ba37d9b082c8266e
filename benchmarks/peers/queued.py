"""Owns peers with a queue of their own in Redis: Celery, with one job a task and with many."""

from __future__ import annotations

import json
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import redis

from benchmarks.drain import Running, drain, running
from benchmarks.peers.environments import python_of
from benchmarks.processes import ROOT, held_mb
from benchmarks.results import Figures
from benchmarks.site import Site
from benchmarks.streams import peer_environment
from benchmarks.works import Work
from penstock_schemas.settings import Settings


@dataclass(frozen=True, slots=True)
class Queued:
    """``most``: the backlog's jobs, as it is slow."""

    peer: str
    most: int

    def drain(self, site: Site, _: Settings, work: Work, jobs: int) -> Figures:
        """Empty a backlog that is in Redis before the worker starts."""
        count = min(jobs, self.most)
        self._submit(site, work, count)
        with redis.Redis.from_url(site.store.url) as store, self._worker(site, work) as subject:
            return drain(subject, lambda: int(store.dbsize()), count, {"Redis": site.store.pid})

    def pace(self, site: Site, _: Settings, work: Work, rate: float, count: int) -> Figures:
        """``count`` jobs evenly apart: from when each is due until a GET finds its result."""
        self._submit(site, work, 1)
        with redis.Redis.from_url(site.store.url) as store, self._worker(site, work) as subject:
            figures: Figures = {"first_result_s": subject.first_result_s(lambda: bool(store.dbsize()))}
            figures |= json.loads(self._submit(site, work, count, rate))
            return figures | {"rss_mb": held_mb(subject.pid)}

    def _worker(self, site: Site, work: Work) -> AbstractContextManager[Running]:
        argv = [python_of(self.peer), "-m", "celery", "-A", self._module, "worker", "--pool=solo", "--loglevel=ERROR"]
        argv += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return running(argv, site.folder / f"{self.peer}.log", self._environment(site, work))

    def _submit(self, site: Site, work: Work, *arguments: Any) -> bytes:
        argv = [python_of(self.peer), "-m", "benchmarks.peers.tasks", self._module, *map(str, arguments)]
        env, row = self._environment(site, work), work.array().tobytes()
        return subprocess.run(argv, cwd=ROOT, env=env, input=row, stdout=subprocess.PIPE, check=True).stdout

    def _environment(self, site: Site, work: Work) -> dict[str, str]:
        url = site.store.url.removesuffix("/0")
        return peer_environment(site, work, PEER_BROKER=f"{url}/1", PEER_RESULTS=f"{url}/0")

    @property
    def _module(self) -> str:
        return f"benchmarks.peers.{self.peer}.worker"
