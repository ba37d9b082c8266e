"""Owns a pool of real engine processes without Kafka: deliveries in, what came of their jobs out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.backends.numpy_models import write_model
from tests.support import eventually
from tests.unit.worker.making import a_delivery

from penstock_schemas.errors import JobError
from penstock_schemas.jobs import encode_job
from penstock_schemas.outcomes import Outcome, decode_outcome
from penstock_schemas.settings import Settings
from penstock_worker.engine.death import Charge
from penstock_worker.engine.pool import Pool
from penstock_worker.engine.process import EngineProcess
from penstock_worker.engine.wire import Answer, Failure
from penstock_worker.intake.delivery import Delivery, Isolation
from penstock_worker.intake.ledger import Entry
from penstock_worker.metrics import WorkerMetrics


class Clock:
    """Monotonic seconds, which the test may move on: what passed meanwhile nobody has seen."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Engines:
    """One engine on the CPU. It settles its own jobs, by key."""

    def __init__(self, folder: Path, *, model: dict[str, Any] | None = None, **sections: Any) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.failures: dict[str, Failure] = {}
        self.blamed: dict[str, tuple[JobError, str]] = {}
        self.clock = Clock()
        self._stopped = False
        worker = {"backend": "numpy_models", "devices": "cpu", "log_format": "json", "spare": "none"}
        worker |= sections.pop("worker", {})
        declared: dict[str, Any] = {"m": {"path": str(write_model(folder, **(model or {}))), **sections.pop("settings", {})}}
        settings = Settings(fleet="t", models=declared, worker=worker, **sections)
        self.metrics = WorkerMetrics()
        self.pool = Pool(settings, ["cpu"], self, self.metrics, self.clock)

    @property
    def engine(self) -> EngineProcess:
        (engine,) = self.pool._engines
        return engine

    def add(self, jobs: dict[str, bytes], isolation: Isolation = Isolation.NONE) -> None:
        delivery = a_delivery(list(jobs.values()), keys=[key.encode() for key in jobs])
        delivery.isolation = isolation
        delivery.entries = [Entry(("t.jobs", 0), len(jobs), len(jobs))]
        self.pool.add(delivery)

    def until(self, enough: Callable[[], bool], what: str) -> None:
        """Turn the pool until ``enough()``."""

        def holds() -> bool:
            self.pool.turn(0.02)
            return enough()

        eventually(holds, what, 60)

    def ready(self) -> Engines:
        self.until(lambda: self.pool.ready, "the engine serves")
        return self

    def settled(self) -> Engines:
        """Wait until nothing is on its way."""
        self.until(lambda: not self.pool.busy, "every job is settled")
        return self

    def stop(self) -> None:
        """End its processes; once."""
        if not self._stopped:
            self._stopped = True
            self.pool.stop()

    def restarts(self) -> int:
        found = self.metrics.registry.get_sample_value("penstock_engine_restarts_total")
        assert found is not None
        return int(found)

    # The pool's settler.

    def settle(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        said = np.frombuffer(answer.indices, np.int32).tolist()
        for index, value in zip(said, answer.values, strict=True):
            if index in indices:
                key = (delivery.keys[index] or b"").decode()
                assert key not in self.outcomes, "a job has one outcome"
                self.outcomes[key] = decode_outcome(value)
                if index in answer.failures:
                    self.failures[key] = answer.failures[index]

    def end(self, delivery: Delivery, indices: Sequence[int], error: JobError) -> None:
        raise AssertionError(error)

    def blame(self, delivery: Delivery, index: int, charge: Charge) -> None:
        key = (delivery.keys[index] or b"").decode()
        assert key not in self.blamed
        self.blamed[key] = charge.error, charge.evidence


def job(value: float, rows: int = 1) -> bytes:
    return encode_job({"x": np.full((rows, 4), value, np.float32)})


def jobs(*values: float, prefix: str = "j") -> dict[str, bytes]:
    return {f"{prefix}{number}": job(value) for number, value in enumerate(values)}
