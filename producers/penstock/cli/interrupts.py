"""Owns what signals do to a command that must end in good order: one that has started services, or that works in steps."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from types import FrameType, TracebackType
from typing import Any, Final, Self

from penstock.cli.exits import Interrupted

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Handled(ABC):
    """While open, signals are this object's; afterwards whoever had them before has them again."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @abstractmethod
    def _handle(self, number: int, _: FrameType | None) -> None: ...


class Interrupts(_Handled):
    """While open, SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread; once shielded they are only counted."""

    def __init__(self) -> None:
        super().__init__()
        self._shielded = False
        self.count = 0

    def shield(self) -> None:
        """From now on signals only count: what follows is tidying up, and must not be torn apart."""
        self._shielded = True

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        if not self._shielded:
            self._shielded = True  # a second one must not tear apart what the first one set going
            raise Interrupted(number)


class StopRequests(_Handled):
    """While open, the first signal makes `check` and `wait` raise Interrupted; a second raises at once, wherever that is.

    For work in steps, each of which is done or not done: nothing is torn apart in the middle of one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = threading.Event()
        self._number = 0

    def check(self) -> None:
        """Raise Interrupted where a signal has asked for the end."""
        if self._asked.is_set():
            raise Interrupted(self._number)

    def wait(self, seconds: float) -> None:
        """Let time pass, but for a signal. Raises as `check`."""
        self._asked.wait(seconds)
        self.check()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._asked.is_set():
            raise Interrupted(number)
        self._number = number
        self._asked.set()
