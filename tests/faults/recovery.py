"""Owns how long a fleet takes to recover: from a fault's end until the jobs from before it can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import RedisError
from tests.faults.deck import ENDS, Fault

if TYPE_CHECKING:
    from tests.faults.records import Accepted
    from tests.faults.schedule import Step

_WATCHED = 100
"""The last so many jobs that were accepted before a fault's end."""


class Results(Protocol):
    """Where results are read."""

    def some(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Those of ``ids`` that have a result now."""
        ...


@dataclass(slots=True)
class Recovery:
    """One trial of one fault. ``seconds``: until the last of the jobs before it could be read, None while it cannot."""

    fault: str
    begun: float
    ids: list[str]
    end: tuple[Fault, str] | None = None
    """While the fault is still going on, the step that ends it: what it holds up is counted from then on."""
    seconds: float | None = None


class Recoveries:
    """What was done to a fleet, and how long it took to come back from each."""

    def __init__(self, results: Results, clock: Callable[[], float], starting: Callable[[], bool] = lambda: False) -> None:
        """``starting``: whether a service that is to come back is still on its way."""
        self._results = results
        self._clock = clock
        self._starting = starting
        self.trials: list[Recovery] = []

    @property
    def over(self) -> bool:
        """Whether the fleet has come back from everything."""
        return all(trial.seconds is not None for trial in self.trials)

    def begin(self, step: Step, accepted: Sequence[Accepted]) -> None:
        """A step was done. ``accepted`` are the jobs that were accepted before it."""
        if step.fault.is_trial:
            end = ENDS.get(step.fault)
            self.add(step.fault, accepted, None if end is None else (end, step.target))
            return
        for trial in self.trials:
            if trial.end == (step.fault, step.target):
                trial.end, trial.begun, trial.ids = None, self._clock(), _last(accepted)

    def add(self, fault: str, accepted: Sequence[Accepted], end: tuple[Fault, str] | None = None) -> None:
        """A fault has happened now; ``end`` is what will end it, if it lasts."""
        self.trials.append(Recovery(fault, self._clock(), _last(accepted), end))

    def look(self) -> None:
        """Look whether any of them is over."""
        if self._starting():
            for trial in self.trials:
                if trial.seconds is None:
                    trial.begun = self._clock()
            return
        for trial in self.trials:
            if trial.seconds is None and trial.end is None:
                try:
                    found = self._results.some(trial.ids) if trial.ids else {}
                except RedisError:
                    return  # away just now
                if len(found) == len(trial.ids):
                    trial.seconds = self._clock() - trial.begun


def _last(accepted: Sequence[Accepted]) -> list[str]:
    """The ids of the last of ``accepted`` that are to succeed at their first try."""
    plain = (job for job in reversed(accepted[-_WATCHED:]) if not job.job.expected.may_fail)
    return list({job.id for job in plain})
