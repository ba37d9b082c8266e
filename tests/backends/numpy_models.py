"""An engine backend without TensorFlow: it starts in a fraction of a second, and its answers are known.

A model is the usual folder, whose ``saved_model.pb`` holds JSON, see :func:`write_model`. Input ``x`` FP32 [-1, 4]; outputs
``y`` FP32 [-1, 4] (twice x) and ``rows`` INT64 [-1] (how many rows the call had). A first value in a row of one of the numbers
below makes the model misbehave on that row.
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
HANGS = -5.0
"""The call never returns."""
EATS = -6.0
"""The call takes 50 MB of memory after the other until the process is killed; at 4 GB it crashes, for the machine's sake."""
FLAKY_CRASH = -7.0
"""The process is killed the first time that a row with these four values is run, in any process; needs ``marks``."""
KILLS_WORKER = -8.0
"""The whole worker is killed, as by a node's fault: the engine's parent, and the engine with it."""

_STEP = 50_000_000
_MOST_EATEN = 4_000_000_000


class _Model:
    def __init__(self, options: dict[str, Any]) -> None:
        signature = Signature({"x": Port("FP32", (-1, 4))}, {"y": Port("FP32", (-1, 4)), "rows": Port("INT64", (-1,))})
        self.signatures = {"serving_default": signature}
        self._batch_seconds = float(options.get("batch_seconds", 0))
        self._begun: str | None = options.get("begun")
        self._most_rows: int | None = options.get("most_rows")
        self._fails: str | None = options.get("fails")
        self._marks: str | None = options.get("marks")

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        x = inputs["x"]
        first = x[:, 0]
        self._misbehave(x)
        if self._fails is not None and os.path.exists(self._fails):  # noqa: PTH110  # a string is cheaper in every call
            raise RuntimeError(f"this model fails as long as {self._fails} is there")
        if (first == NO_MEMORY).any() or (self._most_rows is not None and len(x) > self._most_rows):
            raise OutOfMemoryError("no room for this batch")
        if (first == REFUSED).any():
            raise ValueError("x must not be -1")
        if x.any():  # warm-up, which sends zeros, takes no time
            if self._begun is not None:
                Path(self._begun).touch()
            time.sleep(self._batch_seconds)
        y = x * 2
        y[first == NAN] = np.nan
        return {"y": y, "rows": np.full(len(x), len(x), np.int64)}

    def _misbehave(self, x: np.ndarray[Any, np.dtype[Any]]) -> None:
        """End or hold up the process where a row asks for it."""
        first = x[:, 0]
        if (first == KILLS_WORKER).any():
            os.kill(os.getppid(), signal.SIGKILL)
            _crash()
        if (first == CRASHES).any():
            _crash()
        if (first == HANGS).any():
            while True:
                time.sleep(60)
        if (first == EATS).any():
            eaten: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
            while len(eaten) * _STEP < _MOST_EATEN:
                eaten.append(np.ones(_STEP, np.uint8))
                time.sleep(0.02)
            _crash()
        for row in x[first == FLAKY_CRASH]:
            if self._marks is None:
                raise RuntimeError("FLAKY_CRASH needs marks: a folder, in the model's description")
            mark = Path(self._marks) / "-".join(f"{value:g}" for value in row)
            if not mark.exists():
                mark.touch()
                _crash()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Backend:
    def load(self, path: Path) -> _Model:
        try:
            options: dict[str, Any] = json.loads((path / "saved_model.pb").read_text())
        except (OSError, ValueError) as error:
            raise ModelUnreadableError(f"{path} cannot be loaded: {error}") from error
        time.sleep(float(options.get("load_seconds", 0)))
        return _Model(options)


def open_backend(device: str, cpu_threads: int) -> _Backend:
    return _Backend()


def write_model(
    folder: Path,
    version: str = "1",
    *,
    batch_seconds: float = 0.0,
    begun: Path | None = None,
    load_seconds: float = 0.0,
    most_rows: int | None = None,
    fails: Path | None = None,
    marks: Path | None = None,
) -> Path:
    """Put a model for this backend under ``folder``; returns ``folder``.

    ``batch_seconds``: a call takes that long, whatever it holds. ``begun``: a file that is there as soon as one has begun.
    ``load_seconds``: so does loading. ``most_rows``: a call of more has no memory. ``fails``: as long as this
    file is there, every call raises. ``marks``: a folder that is there, where FLAKY_CRASH remembers which rows have crashed a
    process already.
    """
    (folder / version).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"batch_seconds": batch_seconds, "load_seconds": load_seconds}
    options |= {} if begun is None else {"begun": str(begun)}
    options |= {} if most_rows is None else {"most_rows": most_rows}
    options |= {} if fails is None else {"fails": str(fails)}
    options |= {} if marks is None else {"marks": str(marks)}
    (folder / version / "saved_model.pb").write_text(json.dumps(options))
    return folder
