"""Owns one submitted job as its caller sees it, apart from how one waits: that is Job's and AsyncJob's."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from penstock.errors import JobExpired, JobFailed, PenstockError, ResultsUnavailable, ResultTimeout
from penstock_schemas.outcomes import Outcome, decode_outcome

if TYPE_CHECKING:
    from collections.abc import Generator

    from penstock.core import Core
    from penstock.waiting import Found, Notify


class Handle:
    """A job's id, and what came of it once that is known: it never changes again."""

    __slots__ = ("_core", "_era", "_known", "id")

    def __init__(self, core: Core, job_id: str, era: int | None) -> None:
        self.id = job_id
        self._core = core
        self._era = era
        self._known: Outcome | PenstockError | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @property
    def known(self) -> bool:
        """Whether something is known to have come of the job."""
        return self._known is not None

    def learn(self, found: Found) -> None:
        """Keep what a watcher found."""
        if self._known is None:
            self._known = found if isinstance(found, PenstockError) else self._open(found)

    def outcome(self) -> Outcome:
        """What is known, raised where it is an error. Call it when `known`."""
        if isinstance(self._known, Outcome):
            return self._known
        raise self._known or ResultsUnavailable(f"nothing is known of job {self.id} yet")

    def succeeded(self) -> Outcome:
        """`outcome`, but raise JobFailed or JobExpired where it holds no result."""
        outcome = self.outcome()
        if outcome.status == "failed":
            raise JobFailed(outcome)
        if outcome.status == "expired":
            raise JobExpired(outcome)
        return outcome

    def look(self) -> Outcome | None:
        """The outcome if it is there now. Raises DeliveryFailed, ResultsUnavailable."""
        if self._known is None:
            value = self._core.poll(self.id)
            if value is None:
                return None
            self.learn(value)
        return self.outcome()

    def watch(self, notify: Notify) -> None:
        """Have ``notify`` called, from any thread, when something came of the job; at once where it is known."""
        if isinstance(self._known, Outcome):
            notify(self.id, b"")
        elif self._known is not None:
            notify(self.id, self._known)
        else:
            self._core.watch(self.id, notify, era=self._era)

    def forget(self, notify: Notify) -> None:
        self._core.forget(self.id, notify)

    @contextlib.contextmanager
    def watched(self, notify: Notify) -> Generator[None, None, None]:
        self.watch(notify)
        try:
            yield
        finally:
            self.forget(notify)

    def timed_out(self, timeout: float) -> ResultTimeout:
        return ResultTimeout(self.id, timeout, self._core.trouble)

    def _open(self, value: bytes) -> Outcome | PenstockError:
        try:
            return decode_outcome(value)
        except ValueError as error:
            return ResultsUnavailable(f"what Redis holds for job {self.id} is no outcome: {error}")
