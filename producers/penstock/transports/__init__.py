"""Owns the seam between the client and its services: jobs go into a sink, outcomes come out of a store.

``kafka`` and ``redis`` are the real ones, ``memory`` the one of :mod:`penstock.testing`; one contract suite runs against all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Headers = list[tuple[str, bytes | None]]


class SinkFull(Exception):
    """The sink's local queue is full; nothing was taken."""


class SinkRefused(Exception):
    """The sink refuses this record at once, for the reason given; nothing was taken."""


class StoreUnavailable(Exception):
    """The store cannot be reached now; later it may be."""


class StoreRefused(Exception):
    """The store is there and refuses this client (a wrong password, no permission): waiting does not help."""


class JobSink(Protocol):
    """Where jobs go. All methods may be called from any thread."""

    def start(self, on_refused: Callable[[str, str], None]) -> None:
        """Name who is told of each job that was taken and then not delivered: (key, reason), from any thread."""
        ...

    def publish(self, topic: str, key: str, value: bytes, headers: Headers | None = None) -> None:
        """Queue one record without waiting. Raises SinkFull, or SinkRefused."""
        ...

    def flush(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds until every record is delivered or refused; returns how many are neither yet."""
        ...

    def close(self, timeout: float) -> None:
        """Deliver what is queued within ``timeout`` seconds, refuse the rest (``on_refused``), and let go. Idempotent."""
        ...


class Hints(Protocol):
    """A subscription to one channel."""

    def next(self, timeout: float) -> bytes | None:
        """The next message; None when there was none in ``timeout`` seconds. Raises StoreUnavailable once it is lost."""
        ...

    def close(self) -> None:
        """Let go; a `next` that waits in another thread returns or raises soon. Idempotent."""
        ...


class ResultStore(Protocol):
    """Where outcomes are found. All methods may be called from any thread."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values under ``keys``, None for each that is not there. Raises StoreUnavailable or StoreRefused."""
        ...

    def subscribe(self, channel: str) -> Hints:
        """Messages published from now on. Raises StoreUnavailable or StoreRefused."""
        ...

    def close(self) -> None:
        """Let go of all connections. Idempotent."""
        ...
