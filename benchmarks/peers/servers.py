"""Owns peers that answer HTTP: a caller asks them, and keeps the answers."""

from __future__ import annotations

import json
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.drain import Running, running
from benchmarks.peers.caller import BadAnswer, call, request_of
from benchmarks.peers.environments import python_of
from benchmarks.processes import cpu_seconds, cpu_us, family, held_mb, last_line
from benchmarks.results import Figures
from benchmarks.site import Site
from benchmarks.streams import peer_environment
from benchmarks.works import Work
from penstock_schemas.settings import Settings

_PATIENCE: Final = 60.0
_WARM: Final = 0.1
"""This part of the requests comes before the clock runs."""
_FEW: Final = 8
"""Connections of a caller that is in no hurry."""


@dataclass(frozen=True, slots=True)
class Server:
    """``connections`` have a request under way each; ``most``: jobs, as it is slow. ``body``: a request's, of a row.

    ``argv``: how it is started, where not as a script.
    """

    peer: str
    path: str
    content_type: str
    body: Callable[[np.ndarray], bytes]
    connections: int
    most: int
    argv: Sequence[str] = ()

    def drain(self, site: Site, _: Settings, work: Work, jobs: int) -> Figures:
        """A caller's jobs, submitted as fast as they are answered. What the caller itself costs is told, too."""
        count = min(jobs, self.most)
        with self._serving(site, work) as (subject, port, first):
            self._call(port, work, self.connections, max(1, int(count * _WARM)))
            before = cpu_seconds(family(subject.pid))
            found = self._call(port, work, self.connections, count)
            after = cpu_seconds(family(subject.pid)) | {"caller": found.pop("cpu_s")}
            return found | {"cpu_us": cpu_us(before, after, count), "rss_mb": held_mb(subject.pid), "first_result_s": first}

    def pace(self, site: Site, _: Settings, work: Work, rate: float, count: int) -> Figures:
        """``count`` jobs evenly apart: from when each is due until its answer is there."""
        with self._serving(site, work) as (subject, port, first):
            found = self._call(port, work, _FEW, count, rate)
            return found | {"rss_mb": held_mb(subject.pid), "first_result_s": first}

    @contextmanager
    def _serving(self, site: Site, work: Work) -> Generator[tuple[Running, int, float]]:
        """The server, its port, and after how many seconds it answered its first job."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        python = python_of(self.peer)
        argv = [part.format(python=python, port=port) for part in self.argv]
        argv = argv or [python, "-m", f"benchmarks.peers.{self.peer}.worker"]
        request = request_of(self.path, self.content_type, self.body(work.array()))
        env = peer_environment(site, work, PEER_PORT=str(port))
        with running(argv, site.folder / f"{self.peer}.log", env) as subject:
            why = "nothing asked yet"
            while True:
                subject.check(f"it does not answer ({why})", _PATIENCE)
                try:
                    call(port, request, 1, 1)
                    break
                except (OSError, BadAnswer) as error:
                    why = str(error)
                time.sleep(0.05)
            yield subject, port, time.perf_counter() - subject.since

    def _call(self, port: int, work: Work, *arguments: Any) -> Figures:
        argv = [python_of(self.peer), "-m", "benchmarks.peers.caller", str(port), self.path, self.content_type]
        figures: Figures = json.loads(last_line([*argv, *map(str, arguments)], self.body(work.array())))
        return figures


def base64_row(row: np.ndarray) -> bytes:
    return json.dumps({"row": b64encode(row.tobytes()).decode()}).encode()


def json_rows(row: np.ndarray) -> bytes:
    return orjson.dumps({"rows": row}, option=orjson.OPT_SERIALIZE_NUMPY)


def open_inference(row: np.ndarray) -> bytes:
    tensor = {"name": "x", "shape": list(row.shape), "datatype": "FP32", "data": row.ravel().tolist()}
    return orjson.dumps({"inputs": [tensor]})
