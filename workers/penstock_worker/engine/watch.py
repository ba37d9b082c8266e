"""Owns when an engine is to be killed by its parent: deadlines by the parent's clock, and memory by the system's count."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock_worker.engine.death import Cause

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

_FROZEN: Final = 1.0
"""Seconds between two looks from which on the parent itself was held up, and cannot say who was slow."""
_SILENCE: Final = 60.0
"""Seconds without a word from an engine that loads, or holds jobs and runs none, after which it is taken for dead."""
_MEASURE_EVERY: Final = 0.05
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Deadline:
    """Seconds that something may take, by the clock of who looks. Pure: time is passed in, in monotonic seconds.

    Whoever did not look for over a second was held up itself (stopped, swapped out, suspended) and maybe the engine with it:
    that gap is added to the deadline instead of being blamed on a job.
    """

    def __init__(self) -> None:
        self._ends = math.inf
        self._looked = 0.0

    def start(self, now: float, seconds: float) -> None:
        """From ``now`` on, ``seconds`` are left."""
        self._ends = now + seconds
        self._looked = now

    def stop(self) -> None:
        """There is nothing to wait for."""
        self._ends = math.inf

    @property
    def is_running(self) -> bool:
        return self._ends < math.inf

    def look(self, now: float) -> bool:
        """Whether it is over at ``now``."""
        gap = now - self._looked
        if gap > _FROZEN:
            self._ends += gap
        self._looked = now
        return now >= self._ends


class Patience:
    """How long to wait before something that keeps dying is started again: 1 s, then twice as long each time, to 60 s."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._until = -math.inf

    def failed(self, now: float) -> None:
        self._seconds = min(60.0, max(1.0, self._seconds * 2))
        self._until = now + self._seconds

    def succeeded(self) -> None:
        self._seconds = 0.0

    def is_over(self, now: float) -> bool:
        return now >= self._until


def private_bytes(pid: int) -> int | None:
    """Bytes of memory that process ``pid`` holds for itself: resident, less what it shares (files, shared memory).

    None where the system does not tell (proc(5), statm), or the process is gone.
    """
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * _PAGE


class Watch:
    """One engine process: what it may take of time and memory, and whether it has taken more."""

    def __init__(self, settings: Settings, pid: int) -> None:
        self._pid = pid
        self._memory = settings.worker.engine_memory
        # Jobs may wait for company in silence that long, and decoding a delivery takes a while.
        self._silence = _SILENCE + max((model.max_delay for model in settings.models.values()), default=0.0)
        self._step = Deadline()
        self._timeout = 0.0
        self._word = Deadline()
        self._measured = 0.0

    def heard(self, now: float) -> None:
        """It has said something, or was given something."""
        self._word.start(now, self._silence)

    def runs(self, now: float, seconds: float) -> None:
        """It begins a step that may take ``seconds``; 0: there is no such step now."""
        self._timeout = seconds
        if seconds:
            self._step.start(now, seconds)
        else:
            self._step.stop()

    def look(self, now: float, *, busy: bool) -> tuple[Cause, float] | None:
        """Why it must be killed, and the limit that it has passed; ``busy``: it loads, or holds jobs. None: it may go on."""
        overdue, silent = self._step.look(now), self._word.look(now)
        if overdue:
            return Cause.TIMEOUT, self._timeout
        if busy and silent and not self._step.is_running:
            return Cause.SILENCE, self._silence
        if self._memory is not None and now - self._measured >= _MEASURE_EVERY:
            self._measured = now
            if (private_bytes(self._pid) or 0) > self._memory:
                return Cause.MEMORY, float(self._memory)
        return None
