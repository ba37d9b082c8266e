"""Owns which devices a worker runs engines on: every GPU that is found, else the CPU. Never imports TensorFlow itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock_schemas.settings import WorkerSettings

_COUNT = "from penstock_worker.engine.tensorflow_models import gpu_count; print(gpu_count())"


class NoGpuError(Exception):
    """GPUs were asked for, and none is there; the message says what would help."""


def find_devices(worker: WorkerSettings) -> list[str]:
    """``["cpu"]``, or one ``gpu:N`` a GPU, N as in CUDA_VISIBLE_DEVICES. Raises :class:`NoGpuError`."""
    if worker.devices == "cpu":
        return ["cpu"]
    count = _count_gpus()
    if count == 0 and worker.devices == "gpu":
        raise NoGpuError(
            "worker.devices is gpu, and TensorFlow sees none: install penstock[gpu] and a driver, or set it to auto"
        )
    if count == 0:
        return ["cpu"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = visible.split(",") if visible else [str(i) for i in range(count)]
    return [f"gpu:{number}" for number in numbers[:count]]


def _count_gpus() -> int:
    """How many GPUs TensorFlow could use. It is asked, in a process of its own, only where a device file is there at all."""
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    asked = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=False)
    answer = asked.stdout.strip().splitlines()
    return int(answer[-1]) if asked.returncode == 0 and answer and answer[-1].isdecimal() else 0
