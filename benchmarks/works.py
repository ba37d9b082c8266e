"""Owns what is to be done in a benchmark: a model, what its jobs look like, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson

from penstock_schemas.jobs import encode_job

Headers = list[tuple[str, bytes | None]]


def id_of(number: int) -> str:
    """A job's id."""
    return f"job-{number:09d}"


@dataclass(frozen=True, slots=True)
class Work:
    """``jobs`` jobs of one row for ``model``, whose rows have the shape ``row``. ``max_batch``: rows that a fleet may batch.

    ``batches``: the sizes at which bare TensorFlow is tried. ``outcome``: bytes of an outcome, for the echo.
    """

    name: str
    title: str
    model: str
    row: tuple[int, ...]
    jobs: int
    max_batch: int
    batches: tuple[int, ...]
    outcome: int
    json: bool = False

    def array(self) -> np.ndarray:
        """A job's tensor, FP32, [1, …]."""
        return np.random.default_rng(1).normal(size=(1, *self.row)).astype(np.float32)

    def value(self) -> bytes:
        """A job's record."""
        row = self.array()
        if not self.json:
            return encode_job({"x": row}, model_name=self.model)
        tensor = {"name": "x", "shape": list(row.shape), "datatype": "FP32", "data": row.ravel().tolist()}
        return orjson.dumps({"model_name": self.model, "inputs": [tensor]})

    def key_and_headers(self, number: int) -> tuple[bytes | None, Headers | None]:
        """Where a job's id stands: in the key, or, as other clients do it, in a header."""
        job_id = id_of(number).encode()
        return (None, [("ce_id", job_id), ("content-type", b"application/json")]) if self.json else (job_id, None)


_MLP_BATCHES: Final = (1, 128, 512, 1024, 2048, 4096)
WORKS: Final = {
    work.name: work
    for work in (
        Work("mlp", "MLP 32-128-64-1, 128 bytes", "mlp", (32,), 500_000, 2048, _MLP_BATCHES, 340),
        Work("json", "the same, JSON with headers", "mlp", (32,), 200_000, 2048, _MLP_BATCHES, 340, json=True),
        Work("cnn", "small CNN, 12 KiB", "cnn", (32, 32, 3), 30_000, 128, (1, 32, 64, 128, 256, 512), 380),
        Work("mobilenet", "MobileNetV2, 600 KB", "mobilenet", (224, 224, 3), 600, 32, (1, 8, 16, 32, 64), 4400),
    )
}
