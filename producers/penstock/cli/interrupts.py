"""Owns what signals do to a command that has started services: end it once, in good order, and faster at the second."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

from penstock.cli.exits import Interrupted

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While open, SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread; once shielded they are only counted."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._shielded = False
        self.count = 0

    def shield(self) -> None:
        """From now on signals only count: what follows is tidying up, and must not be torn apart."""
        self._shielded = True

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        if not self._shielded:
            self._shielded = True  # a second one must not tear apart what the first one set going
            raise Interrupted(number)
