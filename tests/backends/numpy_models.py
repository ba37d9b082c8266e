"""An engine backend without TensorFlow: it starts in a fraction of a second, and its answers are known.

A model is the usual folder, whose ``saved_model.pb`` holds JSON: ``{"kind": "double", "batch_seconds": 0}``. Input ``x``
FP32 [-1, 4]; outputs ``y`` FP32 [-1, 4] (twice x) and ``rows`` INT64 [-1] (how many rows the call had). A first value in a
row of one of the numbers below makes the model misbehave on that row.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from penstock_worker.engine.backend import Arrays, ModelUnreadableError, OutOfMemoryError
from penstock_worker.engine.signature import Port, Signature

REFUSED = -1.0
"""The model raises ValueError."""
CRASHES = -2.0
"""The process is killed, as by a segmentation fault."""
NO_MEMORY = -3.0
"""The device has no room."""
NAN = -4.0
"""The model answers NaN."""


class _Model:
    def __init__(self, batch_seconds: float) -> None:
        signature = Signature({"x": Port("FP32", (-1, 4))}, {"y": Port("FP32", (-1, 4)), "rows": Port("INT64", (-1,))})
        self.signatures = {"serving_default": signature}
        self._batch_seconds = batch_seconds

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        x = inputs["x"]
        first = x[:, 0]
        if (first == CRASHES).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (first == NO_MEMORY).any():
            raise OutOfMemoryError("no room for this batch")
        if (first == REFUSED).any():
            raise ValueError("x must not be -1")
        if self._batch_seconds and x.any():  # warm-up, which sends zeros, takes no time
            time.sleep(self._batch_seconds)
        y = x * 2
        y[first == NAN] = np.nan
        return {"y": y, "rows": np.full(len(x), len(x), np.int64)}


class _Backend:
    def load(self, path: Path) -> _Model:
        try:
            description: dict[str, Any] = json.loads((path / "saved_model.pb").read_text())
        except (OSError, ValueError) as error:
            raise ModelUnreadableError(f"{path} cannot be loaded: {error}") from error
        return _Model(float(description.get("batch_seconds", 0)))


def open_backend(device: str, cpu_threads: int) -> _Backend:
    return _Backend()


def write_model(folder: Path, version: str = "1", *, batch_seconds: float = 0.0) -> Path:
    """Put a model for this backend under ``folder``; returns ``folder``."""
    (folder / version).mkdir(parents=True, exist_ok=True)
    (folder / version / "saved_model.pb").write_text(json.dumps({"batch_seconds": batch_seconds}))
    return folder
