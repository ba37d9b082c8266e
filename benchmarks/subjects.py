"""Owns the subjects of a comparison: each takes a work's backlog on a site, and gives its figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.drain import drain
from benchmarks.peers.running import PEERS
from benchmarks.processes import last_line
from benchmarks.site import Site
from benchmarks.works import Work
from penstock.local.worker import worker_environment
from penstock_schemas.settings import Settings

HERE: Final = Path(__file__).parent
Figures = dict[str, Any]
Subject = Callable[[Site, Settings, Work, int], Figures]
"""On a site, for a fleet whose topics are there and hold so many jobs of the work."""


def tensorflow(site: Site, _: Settings, work: Work, __: int) -> Figures:
    """Bare TensorFlow, one process, at its best batch size."""
    argv = [sys.executable, "-m", "benchmarks.limits", "tensorflow", work.name, str(site.model(work.model) / "1")]
    figures: Figures = json.loads(last_line(argv))
    return figures


def echo(site: Site, settings: Settings, work: Work, jobs: int) -> Figures:
    """A bare consume-produce echo of the backlog, one process."""
    topics = (settings.names.jobs(), settings.names.jobs("echo"))
    argv = [sys.executable, "-m", "benchmarks.limits", "echo", site.kafka.bootstrap, *topics, str(jobs), str(work.outcome)]
    figures: Figures = json.loads(last_line(argv))
    return figures


def fleet(site: Site, settings: Settings, _: Work, jobs: int) -> Figures:
    """One `penstock worker` of both roles, everything on."""
    config = site.folder / "empty.toml"  # or it would read the penstock.toml of the folder it runs in
    config.write_text("")
    argv = [sys.executable, "-m", "penstock_worker", "--config", str(config)]
    positions = settings.topics.outcome_partitions  # the projector keeps a key for each
    log = site.folder / f"{settings.fleet}.log"
    worker = settings.worker.model_copy(update={"queues": [""]})  # not the echo's
    env = worker_environment(settings.model_copy(update={"worker": worker}))
    return drain(argv, log, site.store.url, jobs, site.services, besides=positions, env=env)


def loop(site: Site, settings: Settings, work: Work, jobs: int) -> Figures:
    """The hand-written loop."""
    topics = (settings.names.jobs(), settings.names.jobs("echo"))  # no projector reads these
    argv = [sys.executable, str(HERE / "peers/loop/worker.py"), site.kafka.bootstrap, *topics, site.store.url]
    argv += [str(site.model(work.model) / "1"), str(work.max_batch), json.dumps(work.row)]
    return drain(argv, site.folder / f"{settings.fleet}.log", site.store.url, jobs, site.services)


LIMITS: Final[Mapping[str, Subject]] = {"tensorflow": tensorflow, "echo": echo}
SUBJECTS: Final[Mapping[str, Subject]] = {**LIMITS, "fleet": fleet, "loop": loop, **PEERS}
