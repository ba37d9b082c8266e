"""Owns which of many jobs is handed out next: the oldest, or whichever came first, with a bounded number on their way."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.handle import Handle
    from penstock.waiting import Found


J = TypeVar("J", bound="Handle")


class Window(Generic[J]):
    """Jobs on their way, at most ``size``. Pure; belongs to one thread. Raises ValueError for a size below 1."""

    def __init__(self, size: int, *, in_order: bool) -> None:
        if size < 1:
            raise ValueError(f"window is {size}, must be 1 or more")
        self._size = size
        self._in_order = in_order
        self._jobs: dict[str, J] = {}
        self._found: dict[str, Found] = {}
        self._arrived: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        return len(self._jobs) >= self._size

    @property
    def jobs(self) -> list[J]:
        """Those that are in the window, oldest first."""
        return list(self._jobs.values())

    @property
    def oldest(self) -> J:
        """The one waited for the longest. Raises StopIteration where the window is empty."""
        return next(iter(self._jobs.values()))

    def add(self, job: J) -> bool:
        """Take a job in; False where one of its id is in already."""
        if job.id in self._jobs:
            return False
        self._jobs[job.id] = job
        return True

    def arrive(self, job_id: str, found: Found) -> None:
        """Something came of a job. One that is not in the window is ignored."""
        if job_id in self._jobs and job_id not in self._found:
            self._found[job_id] = found
            if not self._in_order:
                self._arrived.append(job_id)

    def take(self) -> Iterator[J]:
        """Take out all whose turn it is; each has learnt what came of it."""
        while True:
            if self._in_order:
                job_id = next(iter(self._jobs), None)
            else:
                job_id = self._arrived.popleft() if self._arrived else None
            if job_id is None or job_id not in self._found:
                return
            job = self._jobs.pop(job_id)
            job.learn(self._found.pop(job_id))
            yield job
