"""Owns the in-memory transports that :mod:`penstock.testing` stands on: no service, no thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from penstock.transports import Headers, Hints, SinkFull, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Record = tuple[str, str, bytes, Headers | None]
"""Topic, key, value, headers."""


class MemorySink:
    """Hands records to ``deliver``; while ``paused``, keeps up to ``capacity`` of them, and then is full.

    ``deliver`` returns None, or the reason for which it does not take the record.
    """

    def __init__(self, deliver: Callable[[Record], str | None], *, capacity: int = 100_000) -> None:
        self._deliver = deliver
        self._capacity = capacity
        self._queue: deque[Record] = deque()
        self._changed = threading.Condition(threading.RLock())
        self._paused = False
        self._on_refused: Callable[[str, str], None] = lambda _key, _reason: None

    def start(self, on_refused: Callable[[str, str], None]) -> None:
        self._on_refused = on_refused

    def publish(self, topic: str, key: str, value: bytes, headers: Headers | None = None) -> None:
        with self._changed:
            if len(self._queue) >= self._capacity:
                raise SinkFull
            self._queue.append((topic, key, value, headers))
            self._drain()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        with self._changed:
            self._paused = False
            self._drain()

    def flush(self, timeout: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, timeout)
            return len(self._queue)

    def close(self, timeout: float) -> None:
        with self._changed:
            self.flush(timeout)
            left = list(self._queue)
            self._queue.clear()
        for _topic, key, _value, _headers in left:
            self._on_refused(key, "it was still in the local queue when the client was closed")

    def _drain(self) -> None:
        while self._queue and not self._paused:
            record = self._queue.popleft()
            reason = self._deliver(record)
            if reason is not None:
                self._on_refused(record[1], reason)
        self._changed.notify_all()


class MemoryHints:
    """One subscription to a :class:`MemoryStore`."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._lost = False

    def put(self, message: bytes) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def next(self, timeout: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._lost, timeout)
            if self._lost:
                raise StoreUnavailable("the subscription was closed")
            return self._messages.popleft() if self._messages else None

    def close(self) -> None:
        with self._changed:
            self._lost = True
            self._changed.notify_all()


class MemoryStore:
    """A dict with channels. ``available = False`` makes every call raise, as a server that is away would."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._channels: dict[str, list[MemoryHints]] = {}
        self._lock = threading.Lock()
        self.available = True

    def set_first(self, key: str, value: bytes) -> None:
        """Keep the first value under a key, as the projector does."""
        with self._lock:
            self._values.setdefault(key, value)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    def publish(self, channel: str, message: bytes) -> None:
        with self._lock:
            subscribers = list(self._channels.get(channel, ()))
        for hints in subscribers:
            hints.put(message)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self._check()
        with self._lock:
            return [self._values.get(key) for key in keys]

    def subscribe(self, channel: str) -> Hints:
        self._check()
        hints = MemoryHints()
        with self._lock:
            self._channels.setdefault(channel, []).append(hints)
        return hints

    def drop_subscriptions(self) -> None:
        """Lose every subscription, as a restarted server would."""
        with self._lock:
            lost = [hints for channel in self._channels.values() for hints in channel]
            self._channels.clear()
        for hints in lost:
            hints.close()

    def close(self) -> None:
        """Nothing to let go of: other clients may share this store."""

    def _check(self) -> None:
        if not self.available:
            raise StoreUnavailable("the in-memory store is switched off")
