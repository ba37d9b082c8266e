"""Owns what is compared: the limits, the fleet, and what users would run in its place."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from benchmarks.peers.queued import Queued
from benchmarks.peers.servers import Server, base64_row, json_rows, open_inference
from benchmarks.processes import last_line
from benchmarks.results import Figures
from benchmarks.site import Site
from benchmarks.streams import FLEET, LOOP, peer
from benchmarks.works import Work
from penstock_schemas.settings import Settings


class Subject(Protocol):
    """Takes a work's backlog on a site, and gives its figures, ``per_second`` among them."""

    def drain(self, site: Site, settings: Settings, work: Work, jobs: int, /) -> Figures: ...


class Paced(Protocol):
    """Is given a work's jobs at a pace, and says how long they took: ``p50_ms``, ``p95_ms``, ``p99_ms``."""

    def pace(self, site: Site, settings: Settings, work: Work, rate: float, count: int, /) -> Figures: ...


class _TensorFlow:
    def drain(self, site: Site, _: Settings, work: Work, __: int) -> Figures:
        """Bare TensorFlow, one process, at its best batch size."""
        argv = [sys.executable, "-m", "benchmarks.limits", "tensorflow", work.name, str(site.model(work.model) / "1")]
        figures: Figures = json.loads(last_line(argv))
        return figures


class _Echo:
    def drain(self, site: Site, settings: Settings, work: Work, jobs: int) -> Figures:
        """A bare consume-produce echo of the backlog, one process."""
        topics = (settings.names.jobs(), settings.names.jobs("echo"))
        argv = [sys.executable, "-m", "benchmarks.limits", "echo", site.kafka.bootstrap, *topics, str(jobs), str(work.outcome)]
        figures: Figures = json.loads(last_line(argv))
        return figures


_BENTO: Final = (
    "{python}",
    "-m",
    "bentoml",
    "serve",
    "benchmarks.peers.bentoml.worker:Infer",
    "--host=127.0.0.1",
    "--port={port}",
)
_BYTES: Final = "application/octet-stream"
_JSON: Final = "application/json"
LIMITS: Final[Mapping[str, Subject]] = {"tensorflow": _TensorFlow(), "echo": _Echo()}
STREAMS: Final = {"fleet": FLEET, "loop": LOOP, "faststream": peer("faststream"), "quix": peer("quix")}
QUEUED: Final = {"celery": Queued("celery", 10_000), "celery-batches": Queued("celery_batches", 15_000)}
SERVERS: Final = {
    "mosec": Server("mosec", "/inference", _BYTES, np.ndarray.tobytes, 512, 300_000),
    "litserve": Server("litserve", "/predict", _JSON, base64_row, 128, 20_000),
    "bentoml": Server("bentoml", "/predict", _JSON, json_rows, 128, 10_000, _BENTO),
    "mlserver": Server("mlserver", "/v2/models/peer/infer", _JSON, open_inference, 128, 15_000),
    "ray-serve": Server("ray_serve", "/", _BYTES, np.ndarray.tobytes, 128, 5_000),
}
"""A server gets as many connections as it was fastest with."""
PACED: Final[Mapping[str, Paced]] = {**STREAMS, **QUEUED, **SERVERS}
SUBJECTS: Final[Mapping[str, Subject]] = {**LIMITS, **STREAMS, **QUEUED, **SERVERS}
