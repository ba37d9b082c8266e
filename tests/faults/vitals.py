"""Owns what a fleet's processes take: memory, handles and threads over time, and whether they grow (I8)."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import psutil
from tests.faults.told import Breach

if TYPE_CHECKING:
    from tests.faults.harness import Fleet

_SPARE_MEMORY: Final = 16 * 1024 * 1024
"""So many bytes more are the allocator's, not a leak's."""
_SPARE: Final = 3
"""So many handles or threads more come and go with connections."""
_GROWTH: Final = 1.1
_FEWEST: Final = 12


@dataclass(frozen=True, slots=True)
class Vital:
    """What one process took at one moment; ``memory`` in bytes."""

    memory: int
    handles: int
    threads: int


class Vitals:
    """Samples of all processes of a fleet, taken at least ``every`` seconds apart."""

    def __init__(self, fleet: Fleet, every: float, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._every = every
        self._clock = clock
        self._due = 0.0
        self.samples = defaultdict[str, list[Vital]](list)

    def look(self) -> None:
        """Take a sample if it is time for one."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + self._every
        for member in self._fleet.members.values():
            if member.expected:
                with contextlib.suppress(psutil.Error):
                    self._take(member.name, psutil.Process(member.process.pid))
                for number, engine in enumerate(sorted(member.engines(), key=lambda engine: engine.pid)):
                    with contextlib.suppress(psutil.Error):
                        self._take(f"{member.name}, engine {number}", engine)

    def breaches(self) -> Iterator[Breach]:
        """I8: what grows without end."""
        for name, samples in self.samples.items():
            yield from growth(name, samples)

    def __str__(self) -> str:
        lines = [f"{name}: {_summary(samples)}" for name, samples in sorted(self.samples.items()) if len(samples) >= _FEWEST]
        return "\n".join(lines)

    def _take(self, name: str, process: psutil.Process) -> None:
        with process.oneshot():
            memory = process.memory_info()
            # What is shared (slots of deliveries and answers) is bounded by its files' size, and touched little by little.
            private = memory.rss - getattr(memory, "shared", 0)
            self.samples[name].append(Vital(private, process.num_fds(), process.num_threads()))


def growth(name: str, samples: Sequence[Vital]) -> Iterator[Breach]:
    """What is clearly more in the last quarter of ``samples`` than it was in the second."""
    if len(samples) < _FEWEST:
        return
    quarter = len(samples) // 4
    for what, spare in (("memory", _SPARE_MEMORY), ("handles", _SPARE), ("threads", _SPARE)):
        early = median(getattr(one, what) for one in samples[quarter : 2 * quarter])
        late = median(getattr(one, what) for one in samples[-quarter:])
        if late > early * _GROWTH and late > early + spare:
            yield Breach("I8", f"{name}: {what} grew from {early:,.0f} to {late:,.0f}")


def _summary(samples: Sequence[Vital]) -> str:
    first, last = samples[len(samples) // 4], samples[-1]
    memory = f"{first.memory / 1e6:.0f} to {last.memory / 1e6:.0f} MB"
    return f"{memory}, {first.handles} to {last.handles} handles, {first.threads} to {last.threads} threads"
