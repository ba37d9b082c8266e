"""Owns a run: submits jobs when they are due, and hears of their results as a client does."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from penstock.bench.load import ClosedLoop, Load, OpenLoop
from penstock.bench.tally import Tally
from penstock.bench.witness import Witness
from penstock.bench.work import Kind, Works
from penstock.client import Client
from penstock.core import SubmitOptions
from penstock.errors import DeliveryFailed, FlushTimeout, PenstockError
from penstock_schemas.outcomes import decode_outcome

_STATUS_WITHIN: Final = 400
"""An outcome's status stands in its first so many bytes."""
_LOOK: Final = 0.2
_LOOKED_INTO: Final = 500
"""So many outcomes a second are read whole; of the others only the status."""
_EARLY: Final = 0.05
"""The first job is due so long after the begin, in seconds: the clock is not to wait for connections."""

Found = tuple[str, float, bytes | PenstockError]


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: a load, for ``seconds``; ``wait``: how long the last results may take after that; ``timeout``: the jobs' own."""

    load: Load
    seconds: float
    wait: float = 30.0
    timeout: float | None = None
    most_in_flight: int = 500_000
    """More jobs than that are not submitted before others are back; they are late then, and it counts."""


@dataclass(frozen=True, slots=True)
class _Sent:
    due: float
    rows: int


class Run:
    """One run of ``plan`` with ``works`` over ``client``; :attr:`tally` may be looked at meanwhile."""

    def __init__(
        self, client: Client, works: Works, plan: Plan, random: np.random.Generator, witness: Witness | None = None
    ) -> None:
        self.plan = plan
        self.tally = Tally()
        self._client = client
        self._witness = witness
        self._works = works
        self._random = random
        self._box: queue.SimpleQueue[Found | None] = queue.SimpleQueue()
        self._sent: dict[str, _Sent] = {}
        self._begin = 0.0
        self._options = SubmitOptions(timeout=plan.timeout) if plan.timeout is not None else SubmitOptions()
        self._room = threading.Semaphore(plan.load.callers if isinstance(plan.load, ClosedLoop) else plan.most_in_flight)
        self._look_again = 0.0
        self._epoch = 0.0
        """The wall clock's time at the run's begin."""

    def go(self, check: Callable[[], None]) -> None:
        """Submit, and wait for the results. ``check`` is called again and again: what it raises ends the run."""
        hearing = threading.Thread(target=self._hear, name="bench-results", daemon=True)
        self._begin, self._epoch = time.perf_counter(), time.time()
        hearing.start()
        try:
            self._submit_all(check)
            with contextlib.suppress(DeliveryFailed, FlushTimeout):  # what was refused, or is left, is counted by itself
                self._client.flush(self.plan.wait)
            end = time.perf_counter() + self.plan.wait
            while self.tally.in_flight and time.perf_counter() < end:
                check()
                time.sleep(_LOOK / 4)
        finally:
            self._box.put(None)
            hearing.join()
        left = len(self._sent)
        if left:
            self.tally.status["unanswered"] += left
            self.tally.errors[f"no outcome within {self.plan.wait:g} s of the last job"] += left

    def _now(self) -> float:
        return time.perf_counter() - self._begin

    def _submit_all(self, check: Callable[[], None]) -> None:
        end = _EARLY + self.plan.seconds
        checked = 0.0
        for due in self._due():
            if due is not None and due >= end:
                return
            while (now := self._now()) < (due or 0.0):
                time.sleep(min(due - now, _LOOK) if due else 0.0)
                check()
            last = end if due is None else end + self.plan.wait
            while not self._room.acquire(timeout=_LOOK):
                check()
                if self._now() >= last:
                    return
            now = self._now()
            if now >= end and due is None:
                return
            if now - checked > _LOOK:
                checked = now
                check()
            self._submit(now if due is None else due, now)

    def _due(self) -> Iterator[float | None]:
        """When each job is due; None: as soon as a caller is free."""
        load = self.plan.load
        if isinstance(load, OpenLoop):
            yield from (_EARLY + due for due in load.due(self._random))
        while True:
            yield None

    def _submit(self, due: float, now: float) -> None:
        kind, inputs = self._works.next()
        tally = self.tally
        if not tally.submitted:
            tally.first_due = due
        tally.submitted += 1
        tally.late.add(now - due)
        try:
            job = self._client.submit(kind.model, inputs, **self._options)
        except PenstockError as error:
            self._box.put(("", now, error))
            return
        self._sent[job.id] = _Sent(due, kind.rows)
        job.watch(self._notify)

    def _notify(self, job_id: str, found: bytes | PenstockError) -> None:
        """Called by the client's threads."""
        self._box.put((job_id, self._now(), found))

    def _hear(self) -> None:
        """Count what comes back, until told to end."""
        while (item := self._box.get()) is not None:
            job_id, at, found = item
            sent = self._sent.pop(job_id, None)
            self._room.release()
            if isinstance(found, PenstockError):
                self.tally.status["refused"] += 1
                self.tally.errors[_first_words(str(found))] += 1
            elif sent is not None:
                self._count(at, sent, found)
                if self._witness is not None:
                    self._witness.tell(job_id, self._epoch + sent.due, self._epoch + at)

    def _count(self, at: float, sent: _Sent, value: bytes) -> None:
        status = "succeeded" if b'"status":"succeeded"' in value[:_STATUS_WITHIN] else ""
        if not status or at >= self._look_again:
            outcome = decode_outcome(value)
            status = outcome.status
            if status != "succeeded":
                self.tally.errors[_first_words(f"{outcome.error_code}: {outcome.error}")] += 1
            else:
                self._look_again = at + 1 / _LOOKED_INTO
                half = sent.due > _EARLY + self.plan.seconds / 2
                self.tally.look_into(outcome, sent.rows, at - sent.due, second_half=half)
        self.tally.back(at, sent.due, status, sent.rows)


def first_jobs(client: Client, works: Works, timeout: float) -> None:
    """A job of each kind, one after the other, so that no run pays for connections. Raises the client's errors."""
    seen: set[Kind] = set()
    while len(seen) < len(works.kinds):
        kind, inputs = works.next()
        if kind not in seen:
            client.submit(kind.model, inputs).result(timeout)
            seen.add(kind)


def _first_words(text: str) -> str:
    return text.splitlines()[0][:160] if text else text
