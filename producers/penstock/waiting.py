"""Owns waiting for outcomes: one watcher per client wakes every waiter, whether there is one or a hundred thousand.

Three ways lead to a waiter, and each does without the others: a hint on the client's channel wakes it at once; the net, a
batched MGET of whoever is due, catches what no hint told of; and a refusal by Kafka ends its wait. While Redis is away the net
goes on trying, so a waiter rides out a restart. The watcher keeps values as bytes: who waits decodes them, in its own thread.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import ClientClosed, PenstockError, ResultsUnavailable
from penstock.hinted import Hinted
from penstock.transports import StoreRefused, StoreUnavailable
from penstock.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from penstock.transports import Hints, ResultStore

Found = bytes | PenstockError
Notify = Callable[[str, Found], None]
"""Told once what came of one job: its outcome's bytes, or why there is none. By the watcher's threads: must not block."""

_FIRST_LOOK_HINTED = 0.1
_FIRST_LOOK_POLLED = 0.005
_LONGEST_HINTED = 5.0
_LONGEST_POLLED = 0.5
_SLOWER = 1.6
"""The net's pace in seconds: how soon it looks for a job at first, how seldom at last, and how much slower each time."""
_LOOK_BYTES = 4 * 1024 * 1024
_LOOK_MOST = 512
"""One MGET asks for at most this many jobs, and for fewer where outcomes are large."""
_RETRY_FIRST = 0.05
_RETRY_LONGEST = 1.0
_HINT_SECONDS = 5.0
_LONGEST_HINT = 1024 * 1024

_log = logging.getLogger("penstock")


@dataclass(slots=True)
class _Waiter:
    notify: list[Notify]
    due: float
    pause: float
    hinted: bool
    """Whether hints tell of this job: it is one of our own."""


class Watcher:
    """Wakes whoever waits for a job of one fleet. Its threads start with the first waiter."""

    def __init__(self, store: ResultStore, *, key_prefix: str, channel: str) -> None:
        self._store = store
        self._prefix = key_prefix
        self._channel = channel
        self._waiting: dict[str, _Waiter] = {}
        self._due: list[tuple[float, str]] = []
        self._hinted = Hinted()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._hints: Hints | None = None
        self.trouble = Trouble()
        self._look_most = 64
        self._ahead = False
        """Whether to read ahead: someone asked for a job that had been hinted before."""

    @property
    def era(self) -> int:
        """Names the present stretch without a lost hint; 0 while there is no subscription. See `watch`."""
        return self._hinted.era

    def watch(self, job_id: str, notify: Notify, *, era: int | None = None) -> None:
        """Call ``notify`` once there is an outcome; at once, from a watcher thread, where it is there already.

        ``era`` is `era` as it was before the job was sent, None for a job that another client sent (no hint tells of it).
        Raises ClientClosed.
        """
        now = time.monotonic()
        with self._changed:
            if self._stopping.is_set():
                raise ClientClosed
            if not self._threads:
                self._start()
            value = self._hinted.take(job_id) if era is not None else None
            if value is None:
                self._add(job_id, notify, now, era)
        if value is not None:
            notify(job_id, value)

    def _add(self, job_id: str, notify: Notify, now: float, era: int | None) -> None:
        waiter = self._waiting.get(job_id)
        if waiter is not None:
            waiter.notify.append(notify)
            return
        heard = self._hinted.heard(job_id)
        self._ahead = self._ahead or heard
        # A job of our own, sent while subscribed, and not hinted yet: there is nothing to find, so do not look yet.
        pause = _FIRST_LOOK_HINTED if not heard and self._hinted.rules_out(era) else 0.0
        self._waiting[job_id] = _Waiter([notify], now + pause, pause or _FIRST_LOOK_POLLED, hinted=era is not None)
        earliest = not self._due or now + pause < self._due[0][0]
        heapq.heappush(self._due, (now + pause, job_id))
        if earliest:
            self._changed.notify()

    def forget(self, job_id: str, notify: Notify) -> None:
        """Stop waiting. ``notify`` may still be called if the outcome came at this moment."""
        with self._changed:
            waiter = self._waiting.get(job_id)
            if waiter is not None and notify in waiter.notify:
                waiter.notify.remove(notify)
                if not waiter.notify:
                    del self._waiting[job_id]

    def fail(self, job_id: str, error: PenstockError) -> None:
        """End the waits for one job."""
        self._resolve([(job_id, error)])

    def close(self) -> None:
        """End all waits with ClientClosed. Idempotent."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
            hints, threads, left = self._hints, self._threads, list(self._waiting)
        self._resolve([(job_id, ClientClosed()) for job_id in left])
        if hints is not None:
            hints.close()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _start(self) -> None:
        for name, run in (("penstock-hints", self._listen), ("penstock-net", self._sweep)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    # The net

    def _sweep(self) -> None:
        """Look for whoever is due, until closed."""
        while True:
            with self._changed:
                if self._stopping.is_set():  # under the lock, or close's notify falls between this look and the wait
                    return
                now = time.monotonic()
                if not self._due or self._due[0][0] > now:
                    self._changed.wait(self._due[0][0] - now if self._due else None)
                    continue
                due = self._take_due(now)
                if due and self._ahead:
                    due += self._hinted.next()
                    self._ahead = False
            if due:
                self._look_or_retry(due)

    def _take_due(self, now: float) -> list[str]:
        taken: list[str] = []
        while self._due and self._due[0][0] <= now and len(taken) < self._look_most:
            due, job_id = heapq.heappop(self._due)
            waiter = self._waiting.get(job_id)
            if waiter is not None and waiter.due == due:  # else: an older entry of someone who was answered or put off
                taken.append(job_id)
        return taken

    def _look_or_retry(self, job_ids: list[str]) -> None:
        pause = _RETRY_FIRST
        while not self._stopping.is_set():
            try:
                missing = self._look(job_ids)
            except StoreUnavailable as error:
                self.trouble.say(str(error))
                self._stopping.wait(pause)
                pause = min(pause * 2, _RETRY_LONGEST)
            else:
                self._put_off(missing)
                return

    def _put_off(self, job_ids: Iterable[str]) -> None:
        now = time.monotonic()
        with self._changed:
            for job_id in job_ids:
                waiter = self._waiting.get(job_id)
                if waiter is None:
                    continue
                hinted = waiter.hinted and self._hinted.era > 0
                waiter.due = now + waiter.pause
                longest = _LONGEST_HINTED if hinted else _LONGEST_POLLED
                waiter.pause = min(max(waiter.pause * _SLOWER, _FIRST_LOOK_HINTED if hinted else 0.0), longest)
                heapq.heappush(self._due, (waiter.due, job_id))

    def _look(self, job_ids: Sequence[str]) -> list[str]:
        """One MGET: resolve those that are there, return the others. Raises StoreUnavailable."""
        try:
            with self.trouble.asking():
                values = self._store.get_many([self._prefix + job_id for job_id in job_ids])
        except StoreRefused as error:
            self._resolve([(job_id, ResultsUnavailable(str(error))) for job_id in job_ids])
            return []
        except StoreUnavailable:
            raise
        except Exception as error:  # whatever it is: the net must go on, or everyone waits for ever
            _log.exception("reading results failed in a way that was not foreseen")
            raise StoreUnavailable(repr(error)) from error
        self.trouble.say(None)
        found = [(job_id, value) for job_id, value in zip(job_ids, values, strict=True) if value is not None]
        if found:
            size = sum(len(value) for _, value in found) // len(found)
            self._look_most = max(1, min(_LOOK_MOST, _LOOK_BYTES // max(size, 1)))
            self._resolve(found)
        return [job_id for job_id, value in zip(job_ids, values, strict=True) if value is None]

    def _resolve(self, found: Sequence[tuple[str, Found]]) -> None:
        waiters: list[_Waiter | None] = []
        with self._changed:
            for job_id, value in found:
                waiter = self._waiting.pop(job_id, None)
                waiters.append(waiter)
                if waiter is None and isinstance(value, bytes):
                    self._hinted.keep(job_id, value)
        for (job_id, value), waiter in zip(found, waiters, strict=True):
            for notify in waiter.notify if waiter is not None else ():
                notify(job_id, value)

    # Hints

    def _listen(self) -> None:
        """Stay subscribed, until closed. Without a subscription, the net looks more often."""
        pause = _RETRY_FIRST
        while not self._stopping.is_set():
            try:
                hints = self._store.subscribe(self._channel)
            except (StoreUnavailable, StoreRefused) as error:
                _log.debug("no hints for now: %s", error)
                self._stopping.wait(pause)
                pause = min(pause * 2, _RETRY_LONGEST)
                continue
            try:
                pause = _RETRY_FIRST
                self._follow(hints)
            except StoreUnavailable as error:
                _log.debug("hints lost: %s", error)
            finally:
                self._leave(hints)

    def _follow(self, hints: Hints) -> None:
        with self._changed:
            self._hints = hints
            self._hinted.begin()
        self._look_soon()
        while not self._stopping.is_set():
            message = hints.next(_HINT_SECONDS)
            if message is None:
                continue
            if len(message) > _LONGEST_HINT:  # no projector's: take it as "look", rather than keep what it says
                self._look_soon()
                continue
            self._hear(message.decode("ascii", "replace").split("\n"))

    def _leave(self, hints: Hints) -> None:
        with self._changed:
            self._hints = None
            self._hinted.end()
        hints.close()
        self._look_soon()

    def _hear(self, job_ids: list[str]) -> None:
        """Look for those of the jobs named that someone waits for, and remember the others."""
        with self._changed:
            wanted = [job_id for job_id in job_ids if job_id in self._waiting]
            if len(wanted) < len(job_ids):
                self._hinted.remember(job_id for job_id in job_ids if job_id not in self._waiting)
        for start in range(0, len(wanted), self._look_most):
            chunk = wanted[start : start + self._look_most]
            try:
                self._look(chunk)  # one that is not there is still due at its own time
            except StoreUnavailable as error:
                self.trouble.say(str(error))
                self._look_soon()
                return

    def _look_soon(self) -> None:
        """Make everyone due now: hints may have been missed."""
        now = time.monotonic()
        with self._changed:
            for waiter in self._waiting.values():
                waiter.due, waiter.pause = now, _FIRST_LOOK_POLLED
            self._due = [(now, job_id) for job_id in sorted(self._waiting)]  # sorted: a heap already
            self._changed.notify()
