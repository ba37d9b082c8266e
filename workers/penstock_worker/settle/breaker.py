"""Owns the breaker: which models fail every job, and so are given none for a while. Pure, with time passed in."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from penstock_schemas.errors import ErrorCode

FAULTS: Final = frozenset(
    {
        ErrorCode.MODEL_ERROR,
        ErrorCode.NON_FINITE_OUTPUT,
        ErrorCode.TRANSFORM_ERROR,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.ENGINE_CRASH,
        ErrorCode.ENGINE_TIMEOUT,
    }
)
"""Failures that may be the model's own fault."""
_FIRST_REST: Final = 5.0
_LONGEST_REST: Final = 60.0
_FORGET: Final = 1200.0
"""So long after its rest without one more failure, nobody is alarmed any more."""
_DEATHS: Final = 5
"""So many jobs that killed an engine weigh as much as all the failed ones that it takes: each cost seconds."""


@dataclass(slots=True)
class _Row:
    """Failures of one model without a success between them."""

    failures: int
    since: float
    rest: float = 0.0
    """How long the model rests before it is given jobs again, in seconds; 0 while it does not rest."""
    until: float = 0.0
    deaths: int = 0
    """Of the failures, those that cost an engine."""


class Breaker:
    """Counts failures in a row.

    When a model's rest is over, it is given what comes: one success ends it all, one failure doubles the next rest.
    """

    def __init__(self, failures: int, seconds: float) -> None:
        """A model rests after ``failures`` failed jobs in a row that took ``seconds`` or more."""
        self._failures = failures
        self._death = ceil(failures / _DEATHS)
        self._seconds = seconds
        self._rows: dict[str, _Row] = {}

    def succeeded(self, model: str) -> bool:
        """A job of ``model`` has its result. Returns whether the model had been resting."""
        row = self._rows.pop(model, None) if self._rows else None
        return row is not None and row.rest > 0

    def failed(self, model: str, jobs: int, now: float, *, died: bool = False) -> bool:
        """``jobs`` of ``model`` failed, or one that ``died`` with its engine, and had not before.

        Returns whether the model rests from now on.
        """
        row = self._rows.setdefault(model, _Row(0, now))
        row.failures += self._death if died else jobs
        row.deaths += died
        if row.rest:
            if now >= row.until:
                row.rest = min(2 * row.rest, _LONGEST_REST)
                row.until = now + row.rest
            return False
        if row.failures < self._failures or now - row.since < self._seconds:
            return False
        row.rest, row.until = _FIRST_REST, now + _FIRST_REST
        return True

    def resting(self, model: str | None) -> bool:
        """Whether ``model`` failed every job of late: what it fails now is not its jobs' fault."""
        row = self._rows.get(model or "")
        return row is not None and row.rest > 0

    def unready(self, now: float) -> list[str]:
        """The models that fail every job, and were tried lately."""
        return [model for model, row in self._rows.items() if row.rest and now < row.until + _FORGET]

    def blocked(self, now: float) -> frozenset[str]:
        """The models that are given no jobs at ``now``: those whose failures cost engines, and other models' jobs their time.

        A model that only says no does no harm: it runs on, and the first job that it does not refuse ends its rest.
        """
        if not self._rows:
            return _NONE
        return frozenset(model for model, row in self._rows.items() if row.deaths and row.rest and now < row.until)


_NONE: Final = frozenset[str]()
