"""Owns what a client remembers of hints that nobody waited for yet: which jobs have an outcome, which cannot, and some values.

A caller who submits many jobs and then asks for one result after the other would pay a round trip each. Whoever asks for a job
that was hinted before is likely to do just that, so the next ones are read along with it: one at first, more while they are
asked for, fewer when they are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 65_536
_MOST_AHEAD = 64
_AHEAD_KEPT = 256
_AHEAD_BYTES = 4 * 1024 * 1024


class Hinted:
    """Ids that were hinted, since when none can have been missed, and values read ahead. Not thread-safe: its owner has a lock.

    `era` is 0 without a subscription, and another number after each gap, so that a job sent in an era that still lasts, and
    not hinted, has no outcome yet (but for a hint that Redis dropped: the net catches that).
    """

    def __init__(self) -> None:
        self.era = 0
        self._eras = 0
        self._ids: dict[str, None] = {}
        self._ahead: dict[str, bytes] = {}
        self._ahead_bytes = 0
        self._chosen: set[str] = set()
        self._reach = 1

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
        """These were hinted."""
        for job_id in job_ids:
            self._ids[job_id] = None
            self._drop(job_id)  # hinted again: there is a newer generation
        if len(self._ids) > MOST:
            self.begin()  # forget them all; what was sent before this is no longer ruled out

    def heard(self, job_id: str) -> bool:
        """Whether this one was hinted; forgets it."""
        return self._ids.pop(job_id, self) is None

    def rules_out(self, era: int | None) -> bool:
        """Whether a job sent in ``era``, and not hinted, cannot have an outcome yet."""
        return bool(era) and era == self.era

    # Reading ahead

    def next(self) -> list[str]:
        """The hinted ids to read along with one that is asked for; forgets that they were hinted."""
        chosen = [job_id for job_id, _ in zip(self._ids, range(self._reach), strict=False)]
        for job_id in chosen:
            del self._ids[job_id]
        self._chosen = set(chosen)
        return chosen

    def keep(self, job_id: str, value: bytes) -> None:
        """Keep a value that was read ahead; ignore others. The oldest make room, and are as hinted as they were before."""
        if job_id not in self._chosen:
            return
        self._chosen.discard(job_id)
        self._ahead[job_id] = value
        self._ahead_bytes += len(value)
        while len(self._ahead) > _AHEAD_KEPT or self._ahead_bytes > _AHEAD_BYTES:
            oldest = next(iter(self._ahead))
            self._drop(oldest)
            self._ids[oldest] = None
            self._reach = max(1, self._reach // 2)

    def take(self, job_id: str) -> bytes | None:
        """The value of a job that was read ahead."""
        value = self._ahead.get(job_id)
        if value is not None:
            self._drop(job_id)
            self._reach = min(self._reach * 2, _MOST_AHEAD)
        return value

    def _drop(self, job_id: str) -> None:
        value = self._ahead.pop(job_id, None)
        if value is not None:
            self._ahead_bytes -= len(value)
