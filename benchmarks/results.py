"""Owns what a benchmark found: figures round by round, what they were measured on, and the file that keeps both."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

_PACKAGES: Final = ("penstock", "confluent-kafka", "numpy", "redis", "tensorflow")
Figures = dict[str, Any]
"""One subject's of one round; ``per_second`` among them."""
Found = dict[str, list[Figures]]
"""By subject, a round after the other."""


def middle(figures: Sequence[Figures], *keys: str) -> float:
    """The median over rounds of a figure, ``keys`` deep; 0 where a round has none."""

    def of(one: Any) -> float:
        for key in keys:
            one = one.get(key, 0.0) if isinstance(one, dict) else 0.0
        return float(one)

    return median(map(of, figures))


def ratios(one: Sequence[Figures], other: Sequence[Figures]) -> list[float]:
    """``one``'s rate to ``other``'s, round by round."""
    return [a["per_second"] / b["per_second"] for a, b in zip(one, other, strict=True)]


def slope(of: Sequence[float], held: Sequence[float]) -> float:
    """How much ``held`` grows with one more ``of``, in the second half: a straight line through it."""
    half = len(held) // 2
    return float(np.polyfit(of[half:], held[half:], 1)[0]) if len(held) - half > 1 else 0.0


def machine() -> dict[str, Any]:
    """What it was run on, and with."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    names = (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return next(names, platform.machine())


def keep(path: Path | None, options: argparse.Namespace, results: object) -> None:
    """Write ``results`` to ``path``, if one is given, with what they were measured on, and how."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(machine() | {"options": vars(options), "results": results}, indent=1, default=str) + "\n")
