"""Owns what is kept of jobs that Kafka did not take: until someone is told, and for whoever asks for their result."""

from __future__ import annotations

import threading
from collections import OrderedDict

from penstock.errors import DeliveryFailed

MOST_NAMED = 10_000
MOST_KEPT = 100_000


class Refusals:
    """Jobs refused, with reasons. Bounded: of very many, the latest can be looked up, and a report names the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._untold: dict[str, str] = {}
        self._untold_count = 0

    def add(self, job_id: str, reason: str) -> None:
        with self._lock:
            self._kept[job_id] = reason
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            self._untold_count += 1
            if len(self._untold) < MOST_NAMED:
                self._untold[job_id] = reason

    def submitted_again(self, job_id: str) -> None:
        """A new try under the same id: what became of the last one says nothing of it."""
        if self._kept:
            with self._lock:
                self._kept.pop(job_id, None)

    def find(self, job_id: str) -> DeliveryFailed | None:
        """The refusal of one job, as an error to raise; None where there was none."""
        if not self._kept:
            return None
        with self._lock:
            reason = self._kept.get(job_id)
        return None if reason is None else DeliveryFailed({job_id: reason})

    def raise_untold(self) -> None:
        """Raise DeliveryFailed for all refusals since the last call, if there were any."""
        with self._lock:
            untold, count = self._untold, self._untold_count
            self._untold, self._untold_count = {}, 0
        if count:
            raise DeliveryFailed(untold, count)
