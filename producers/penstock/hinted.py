"""Owns what a client remembers of hints that nobody waited for yet: enough to know that a job's outcome is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 65_536


class Hinted:
    """Ids that were hinted, and since when none can have been missed. Not thread-safe: its owner holds a lock.

    `era` is 0 without a subscription, and another number after each gap, so that a job sent in an era that still lasts, and
    not hinted, has no outcome yet (but for a hint that Redis dropped: the net catches that).
    """

    def __init__(self) -> None:
        self.era = 0
        self._eras = 0
        self._ids: set[str] = set()

    def begin(self) -> None:
        """A subscription is there from now on."""
        self._eras += 1
        self.era = self._eras
        self._ids.clear()

    def end(self) -> None:
        """The subscription is gone."""
        self.era = 0
        self._ids.clear()

    def remember(self, job_ids: Iterable[str]) -> None:
        self._ids.update(job_ids)
        if len(self._ids) > MOST:
            self.begin()  # forget them all; what was sent before this is no longer ruled out

    def rules_out(self, job_id: str, era: int | None) -> bool:
        """Whether a job sent in ``era`` cannot have an outcome yet."""
        if era is None or era == 0 or era != self.era:
            return False
        if job_id in self._ids:
            self._ids.discard(job_id)
            return False
        return True
