"""Owns the broker's time as a worker knows it: this host's clock may be minutes off, and decides nothing.

A worker that has joined asks the broker for its time by a record of its own: the LogAppendTime that comes back was now when
it was written. From then on the steady clock of this host counts on. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_ASK_AGAIN: Final = 600.0
"""Steady clocks drift, and brokers' clocks are set: so many seconds after an answer, ask again."""
_AFTER_REFUSAL: Final = 10.0


class BrokerClock:
    """Tells the broker's time, once that is known."""

    def __init__(self, steady: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._steady = steady
        self._wall = wall
        self._behind_ms = (wall() - steady()) * 1000  # a first guess, for what no promise rests on
        self._asking = False
        self._asked_at: float | None = None
        self._told_at: float | None = None

    @property
    def known(self) -> bool:
        """Whether the broker has told its time."""
        return self._told_at is not None

    @property
    def must_ask(self) -> bool:
        """Whether it should be asked now; to be followed by :meth:`asking`."""
        if self._asking:
            return False
        wait = _AFTER_REFUSAL if self._told_at is None else _ASK_AGAIN
        return self._asked_at is None or self._steady() - self._asked_at >= wait

    def asking(self) -> None:
        """The question is on its way."""
        self._asking, self._asked_at = True, self._steady()

    def told(self, time_ms: int | None) -> None:
        """The answer: the broker's time in Unix ms, a moment ago; None or less than 0 where it gave none."""
        self._asking = False
        if time_ms is not None and time_ms >= 0:
            self._told_at = self._steady()
            self._behind_ms = time_ms - self._told_at * 1000

    def ahead_ms(self) -> int:
        """How far it is ahead of this host's clock; 0 as long as it is not known."""
        return round(self.now_ms() - self._wall() * 1000) if self.known else 0

    def now_ms(self) -> float:
        """The broker's time in Unix ms; a moment early rather than late, by as long as its answer took to come."""
        return self._steady() * 1000 + self._behind_ms
