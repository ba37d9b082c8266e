"""Owns an accelerator's stand-in, a backend for ``worker.backend``: a call takes 20 ms, whatever its rows, and no CPU.

Input x FP32 [-1, 32], output y FP32 [-1, 1]. So that what is measured is how workers share the work, not how they share cores.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from penstock_worker.engine.backend import Arrays
from penstock_worker.engine.signature import Port, Signature

SECONDS: Final = 0.020


class _Model:
    def __init__(self) -> None:
        self.signatures = {"serving_default": Signature({"x": Port("FP32", (-1, 32))}, {"y": Port("FP32", (-1, 1))})}

    def call(self, _: str, inputs: Arrays) -> Arrays:
        time.sleep(SECONDS)
        return {"y": inputs["x"][:, :1] * 2}


class _Backend:
    def load(self, _: Path) -> _Model:
        return _Model()


def open_backend(_: str, __: int) -> Any:
    """Devices and threads make no difference."""
    return _Backend()
