"""Owns how many rows one call of a model may have at the moment: fewer after the device had no room, then more again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_SUCCESSES: Final = 5
_SECONDS: Final = 5.0
"""So many calls that filled the lowered limit, and so long since it last changed, before a larger one is tried."""
_LONGEST: Final = 300.0


class BatchLimit:
    """The limit of one signature of one version. ``sizes``: the only row counts there are, in rising order; None: any.

    Time is monotonic seconds, passed in. Each raise that turns out to be too much doubles the wait before the next one.
    """

    def __init__(self, most: int, sizes: Sequence[int] | None = None) -> None:
        self._most = most
        self._sizes = sizes
        self.rows = most
        """Most rows in one call now."""
        self._changed = 0.0
        self._successes = 0
        self._wait = _SECONDS
        self._before: int | None = None
        """The limit that stood before the last raise, as long as nothing has failed since."""

    def below(self, rows: int) -> int:
        """The largest row count of at most half of ``rows``, or else the smallest there is."""
        if self._sizes is None:
            return max(1, rows // 2)
        return max((size for size in self._sizes if size <= rows // 2), default=self._sizes[0])

    def refused(self, rows: int, now: float) -> None:
        """A call of ``rows`` rows had no room on the device, and its jobs did, in smaller calls."""
        too_much = self._before is not None and rows > self._before
        lower = self._before if self._before is not None and too_much else self.below(rows)
        if lower >= self.rows:
            return
        self._wait = min(_LONGEST, self._wait * 2) if too_much else _SECONDS
        self._before = None
        self._set(lower, now)

    def succeeded(self, rows: int, now: float) -> None:
        """A call of ``rows`` rows had room. What did not come near the limit says nothing about more."""
        if self.rows >= self._most or rows * 2 <= self.rows:
            return
        self._successes += 1
        if self._successes >= _SUCCESSES and now - self._changed >= self._wait:
            self._before = self.rows
            self._set(self._above(), now)

    def _above(self) -> int:
        """The next limit: half as much again, or the next size."""
        if self._sizes is None:
            return min(self._most, self.rows + max(1, self.rows // 2))
        return next((size for size in self._sizes if size > self.rows), self._most)

    def _set(self, rows: int, now: float) -> None:
        self.rows = rows
        self._changed = now
        self._successes = 0
