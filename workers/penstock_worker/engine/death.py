"""Owns what a parent knows of an engine that has died, and how that is told to people. Pure."""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from penstock_schemas.errors import ErrorCode, JobError

if TYPE_CHECKING:
    from penstock_worker.engine.wire import Running
    from penstock_worker.intake.delivery import Delivery


class Cause(StrEnum):
    """Why an engine died."""

    CRASH = "crash"
    """By itself, or by someone else's hand."""
    TIMEOUT = "timeout"
    """Killed by its parent: a step took longer than the model's timeout."""
    SILENCE = "silence"
    """Killed by its parent: it held jobs, ran nothing, and said nothing."""
    MEMORY = "memory"
    """Killed by its parent: it took more than ``worker.engine_memory``."""


class Died(NamedTuple):
    """An engine is gone. ``unanswered`` are the deliveries that it held, as far as they are not wholly answered."""

    cause: Cause
    limit: float
    """What it passed: seconds, or bytes. 0 after a crash."""
    status: int
    """Its exit status; the negative number of the signal that ended it."""
    running: Running | None
    """What the model was running, or what came of that and was not all sent yet."""
    decoding: int | None
    """Sequence of the delivery that was being decoded."""
    unanswered: list[Delivery]
    fruitless: bool
    """It had answered nothing since its start."""

    @property
    def ending(self) -> str:
        """How it ended, for people."""
        if self.cause is Cause.TIMEOUT:
            return f"killed, as a step took longer than the model's timeout of {self.limit:g} s"
        if self.cause is Cause.SILENCE:
            return f"killed, as it said nothing for {self.limit:g} s"
        if self.cause is Cause.MEMORY:
            return f"killed, as it took more than {self.limit:.0f} bytes of memory (worker.engine_memory)"
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"ended by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"ended by signal {-self.status}"


_CODES = {
    Cause.CRASH: ErrorCode.ENGINE_CRASH,
    Cause.TIMEOUT: ErrorCode.ENGINE_TIMEOUT,
    Cause.SILENCE: ErrorCode.ENGINE_TIMEOUT,
    Cause.MEMORY: ErrorCode.OUT_OF_MEMORY,
}


class Charge(NamedTuple):
    """What a job is charged with that was its engine's only suspect."""

    error: JobError
    evidence: str
    model: str | None = None
    """The model that was run; None where the job was only being decoded, and is better not decoded again anywhere else."""
    version: str | None = None


def charge(died: Died, sequence: int, evidence: str) -> Charge:
    """The charge against a job of delivery ``sequence``; ``evidence`` is for its dead letter."""
    running = died.running
    if running is None or all(jobs[0] != sequence for jobs in running.jobs):
        message = f"the engine died while it decoded this job alone: {died.ending}"
        return Charge(JobError(_CODES[died.cause], message), evidence)
    message = f"the engine died while model {running.model!r} version {running.version} ran this job alone: {died.ending}"
    return Charge(JobError(_CODES[died.cause], message), evidence, running.model, running.version)
