"""Owns loads: when jobs are due. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

Arrivals = Literal["constant", "poisson"]
_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Jobs come when they come, whatever the fleet does: ``rate`` a second."""

    rate: float
    arrivals: Arrivals = "poisson"

    def due(self, random: np.random.Generator) -> Iterator[float]:
        """Seconds after the begin at which jobs are due, without end."""
        if self.arrivals == "constant":
            return (number / self.rate for number in count())
        return self._poisson(random)

    def _poisson(self, random: np.random.Generator) -> Iterator[float]:
        at = 0.0
        while True:
            times = at + np.cumsum(random.exponential(1 / self.rate, _AT_ONCE))
            at = float(times[-1])
            yield from times.tolist()

    def __str__(self) -> str:
        return f"open loop, {self.rate:g} jobs/s, {self.arrivals}"


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many callers, each of whom submits the next job when it has its result."""

    callers: int

    def __str__(self) -> str:
        return f"closed loop, {self.callers} callers"


Load = OpenLoop | ClosedLoop
