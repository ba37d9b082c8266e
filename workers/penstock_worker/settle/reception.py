"""Owns whether Kafka takes what a worker publishes: a sentence for the readiness probe, and one log line a change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_SILENCE: Final = 5.0
"""A broker that leaves records unanswered for longer is not merely slow: too few replicas are in sync, or nobody is there."""
_GAP: Final = 1.0
"""A loop that has not come round for longer was stopped itself, and heard nothing for that."""
_OVER: Final = 5.0
"""So long after the last refusal there will be no other one of its kind: what is refused is tried again each second."""


class Reception:
    """What became of the last records. Times in seconds of ``clock``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._log = structlog.get_logger("penstock.settle")
        self._heard_at = self._looked_at = clock()
        self._silent = False
        self._refusal: tuple[str, str] | None = None
        """The topic that refuses records, and why."""
        self._refused_at = 0.0

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""
        if self._refusal is not None:
            return "Kafka does not take records of {}: {}".format(*self._refusal)
        if self._silent:
            return f"Kafka has confirmed no record for {self._clock() - self._heard_at:.0f} s"
        return None

    def look(self, *, heard: bool, waiting: int) -> None:
        """To be called all the time. ``heard``: an answer has come; ``waiting``: so many records have none."""
        now, before = self._clock(), self._looked_at
        self._looked_at = now
        if now - before > _GAP:
            self._heard_at += now - before
        if heard or not waiting:
            if self._silent:
                self._silent = False
                self._log.info("Kafka confirms records again", after_s=round(now - self._heard_at, 1))
            self._heard_at = now
        elif not self._silent and now - self._heard_at > _SILENCE:
            self._silent = True
            self._log.warning("Kafka confirms no records; waiting", records=waiting, silent_s=_SILENCE)
        if self._refusal is not None and now - self._refused_at > _OVER and not self._silent:
            self._log.info("Kafka takes records again", topic=self._refusal[0])
            self._refusal = None

    def refused(self, topic: str, reason: str) -> None:
        """``topic`` has refused a record; it will be tried again."""
        self._refused_at = self._clock()
        if self._refusal is None:
            self._refusal = topic, reason
            self._log.warning("Kafka does not take records; trying on", topic=topic, error=reason)
