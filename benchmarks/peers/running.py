"""Owns how peers are run on a work: those that read the backlog from Kafka, those with a queue of their own, and servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.drain import drain, end
from benchmarks.peers.caller import BadAnswer, call, request_of
from benchmarks.peers.environments import python_of
from benchmarks.processes import ROOT, by_role, cpu_seconds, family, last_line, rss_mb
from benchmarks.site import Site
from benchmarks.works import Work
from penstock_schemas.settings import Settings

_PATIENCE: Final = 60.0
_WARM: Final = 0.1
"""This part of a server's requests comes before the clock runs."""


def _environment(site: Site, work: Work, **more: str) -> dict[str, str]:
    """What every peer is told."""
    told = {"PEER_MODEL": str(site.model(work.model) / "1"), "PEER_ROWS": str(work.max_batch), "PEER_ROW": json.dumps(work.row)}
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **told, **more}


def _argv(peer: str, *more: str) -> list[str]:
    return [python_of(peer), "-m", f"benchmarks.peers.{peer}.worker", *more]


@dataclass(frozen=True, slots=True)
class Stream:
    """Reads the fleet's own backlog, publishes outcomes and keeps them in Redis."""

    peer: str

    def __call__(self, site: Site, settings: Settings, work: Work, jobs: int) -> dict[str, Any]:
        topics = (settings.names.jobs(), settings.names.jobs("echo"))  # no projector reads these
        argv = _argv(self.peer, site.kafka.bootstrap, *topics, site.store.url)
        return drain(argv, site.folder / f"{self.peer}.log", site.store.url, jobs, site.services, env=_environment(site, work))


@dataclass(frozen=True, slots=True)
class Tasks:
    """Has its queue in Redis; the backlog, at most ``most`` jobs, is there before the worker starts."""

    peer: str
    most: int

    def __call__(self, site: Site, _: Settings, work: Work, jobs: int) -> dict[str, Any]:
        url, count = site.store.url.removesuffix("/0"), min(jobs, self.most)
        env = _environment(site, work, PEER_BROKER=f"{url}/1", PEER_RESULTS=f"{url}/0")
        module = f"benchmarks.peers.{self.peer}.worker"
        submit = [python_of(self.peer), "-m", "benchmarks.peers.tasks", module, str(count)]
        subprocess.run(submit, cwd=ROOT, env=env, input=work.array().tobytes(), check=True)
        argv = [python_of(self.peer), "-m", "celery", "-A", module, "worker", "--pool=solo", "--loglevel=ERROR"]
        argv += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return drain(argv, site.folder / f"{self.peer}.log", site.store.url, count, {"Redis": site.store.pid}, env=env)


@dataclass(frozen=True, slots=True)
class Server:
    """Answers HTTP: a caller with so many ``connections`` asks and keeps the answers, at most ``most`` jobs.

    ``body``: a request's, of a row. ``argv``: how it is started, where not as a script.
    """

    peer: str
    path: str
    content_type: str
    body: Callable[[np.ndarray], bytes]
    connections: int
    most: int
    argv: Sequence[str] = ()

    def __call__(self, site: Site, _: Settings, work: Work, jobs: int) -> dict[str, Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = _environment(site, work, PEER_PORT=str(port))
        argv = [part.format(python=python_of(self.peer), port=port) for part in self.argv] or _argv(self.peer)
        body, count = self.body(work.array()), min(jobs, self.most)
        log = site.folder / f"{self.peer}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=said, stderr=said)
        try:
            first = self._first_answer(process, port, body, log)
            caller = ["-m", "benchmarks.peers.caller", str(port), self.path, self.content_type, str(self.connections)]
            last_line([python_of(self.peer), *caller, str(max(1, int(count * _WARM)))], body)
            before = cpu_seconds(family(process.pid))
            found: dict[str, Any] = json.loads(last_line([python_of(self.peer), *caller, str(count)], body))
            mine = family(process.pid)
            used = {name: seconds - before.get(name, 0.0) for name, seconds in cpu_seconds(mine).items()}
            used["caller"] = found.pop("cpu_s")
            each = {name: seconds / count * 1e6 for name, seconds in used.items()}
            return found | {"cpu_us": by_role(each), "rss_mb": by_role(rss_mb(mine)), "first_result_s": first}
        finally:
            end(process)

    def _first_answer(self, process: subprocess.Popen[bytes], port: int, body: bytes, log: Path) -> float:
        """Seconds until the server answers a job."""
        started = time.perf_counter()
        request, why = request_of(self.path, self.content_type, body), ""
        while process.poll() is None and time.perf_counter() - started < _PATIENCE:
            try:
                call(port, request, 1, 1)
                return time.perf_counter() - started
            except (OSError, BadAnswer) as error:
                why = str(error)
            time.sleep(0.1)
        raise RuntimeError(f"{self.peer} does not answer ({why}): {log.read_text(errors='replace')[-2000:]}")


def _json_row(row: np.ndarray) -> bytes:
    return json.dumps({"row": b64encode(row.tobytes()).decode()}).encode()


def _json_rows(row: np.ndarray) -> bytes:
    return orjson.dumps({"rows": row}, option=orjson.OPT_SERIALIZE_NUMPY)


def _open_inference(row: np.ndarray) -> bytes:
    tensor = {"name": "x", "shape": list(row.shape), "datatype": "FP32", "data": row.ravel().tolist()}
    return orjson.dumps({"inputs": [tensor]})


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
PEERS: Final[Mapping[str, Stream | Tasks | Server]] = {
    "faststream": Stream("faststream"),
    "quix": Stream("quix"),
    "celery": Tasks("celery", 10_000),
    "celery-batches": Tasks("celery_batches", 15_000),
    "mosec": Server("mosec", "/inference", _BYTES, np.ndarray.tobytes, 512, 300_000),
    "litserve": Server("litserve", "/predict", _JSON, _json_row, 128, 20_000),
    "bentoml": Server("bentoml", "/predict", _JSON, _json_rows, 128, 10_000, _BENTO),
    "mlserver": Server("mlserver", "/v2/models/peer/infer", _JSON, _open_inference, 128, 15_000),
    "ray-serve": Server("ray_serve", "/", _BYTES, np.ndarray.tobytes, 128, 5_000),
}
"""What users would run in a fleet's place. A server gets as many connections as it was fastest with."""
