"""Owns what a waiter is told of the store when its time is up: that it failed, or that it has not answered for some time."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

SLOW = 0.5
"""A store that has not answered for so long, in seconds, is mentioned: its own time limit may be longer than the waiter's."""


class Trouble:
    """Why results cannot be read just now. May be used by several threads, each of which asks one thing at a time."""

    def __init__(self) -> None:
        self._said: str | None = None
        self._asked: dict[int, float] = {}

    def say(self, reason: str | None) -> None:
        """What the last answer was; None: a good one."""
        self._said = reason

    @contextlib.contextmanager
    def asking(self) -> Generator[None]:
        """While the store is asked."""
        asker = threading.get_ident()
        self._asked[asker] = time.monotonic()
        try:
            yield
        finally:
            del self._asked[asker]

    @property
    def now(self) -> str | None:
        """The reason, None where there is none."""
        if self._said is not None:
            return self._said
        asked = min(list(self._asked.values()), default=None)  # a copy: askers come and go meanwhile
        waited = 0.0 if asked is None else time.monotonic() - asked
        return f"Redis has not answered for {waited:.1f} s" if waited >= SLOW else None
