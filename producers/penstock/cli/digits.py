"""Owns the demo's data: where the example is, training it in a child process, and drawing digits in a terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.cli.exits import CommandError, ExitCode
from penstock.local.errors import LocalError
from penstock.local.guard import Guard
from penstock.local.process import ManagedProcess

MODEL: Final = "digits"
_TRAIN_TIMEOUT: Final = 300.0
_SHADES: Final = " ░▒▓█"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scans that the model was not trained on: ``images`` float32 (n, 8, 8) of 0 to 16, ``labels`` int64 (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def train_script() -> Path:
    """The example's script: in the repository, or as the wheel carries it. Raises CommandError where it is in neither."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1] / "examples" / "digits", package / "examples" / "digits"):
        if (folder / "train.py").is_file():
            return folder / "train.py"
    raise CommandError(ExitCode.NOT_THERE, "the demo's example is not installed: run it from a checkout of the repository")


def check_installed() -> None:
    """Raise CommandError, with the line that installs them, where what the demo trains and serves with is missing."""
    packages = {"tensorflow": "worker", "structlog": "worker", "sklearn": "local"}
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    if lacking:
        extras = ",".join(sorted({packages[name] for name in lacking}))
        raise CommandError(ExitCode.WRONG_USE, f'{", ".join(lacking)} is missing; install it: pip install "penstock[{extras}]"')


class Training:
    """The example's training as a child process, so that this one never loads TensorFlow."""

    def __init__(self, folder: Path, guard: Guard) -> None:
        self.models = folder / "models" / MODEL
        self._held_out = folder / "held-out.npz"
        argv = [sys.executable, str(train_script()), str(self.models / "1"), "--held-out", str(self._held_out)]
        log = folder / "training.log"
        self._process = ManagedProcess("the training", argv, log=log, env={**os.environ, "TMPDIR": str(folder)}, guard=guard)

    def start(self) -> None:
        self._process.start()

    def wait(self) -> HeldOut:
        """Wait for its end and give what was held out. Raises LocalError where it failed."""
        code = self._process.wait(_TRAIN_TIMEOUT)
        if code != 0:
            self._process.kill()
            raise LocalError(f"the training ended with exit code {code}{self._process.log_tail()}")
        self._process.kill()
        with np.load(self._held_out) as arrays:
            return HeldOut(arrays["images"], arrays["labels"])


def drawn(image: NDArray[np.float32]) -> list[str]:
    """A scan (8, 8) of 0 to 16 as eight lines of 16 characters."""
    levels = np.clip(image * (len(_SHADES) - 1) / 16 + 0.5, 0, len(_SHADES) - 1).astype(int)
    return ["".join(_SHADES[level] * 2 for level in row) for row in levels]


def side_by_side(drawings: list[list[str]], captions: list[str], gap: int = 3) -> list[str]:
    """Drawings of equal size beside each other, a caption below each."""
    width = max(len(line) for drawing in drawings for line in drawing)
    rows = [(" " * gap).join(drawing[line] for drawing in drawings) for line in range(len(drawings[0]))]
    return [*rows, (" " * gap).join(f"{caption:<{width}}" for caption in captions)]
