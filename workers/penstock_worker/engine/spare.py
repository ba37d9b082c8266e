"""Owns the spare of one device's engine: a process that has gone part of the way, so that a takeover is short.

It is started when the engine serves, so that it does not compete with its start. It is not niced: what a process without
privileges has lowered it cannot raise again when it takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from penstock_worker.engine import wire
from penstock_worker.engine.child_process import ChildProcess, Stage
from penstock_worker.engine.watch import Patience
from penstock_worker.engine.wire import Kind

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings
    from penstock_worker.engine.slots import Slots

_LOOK_EVERY: Final = 1.0


class Spare:
    """At most one process that waits to take over, on the same shared memory."""

    def __init__(self, settings: Settings, device: str, deliveries: Slots, answers: Slots) -> None:
        self._settings = settings
        self._device = device
        self._deliveries = deliveries
        self._answers = answers
        wanted = settings.worker.spare
        self._stage: Stage | None = None if wanted == "none" else wanted
        self._log = structlog.get_logger("penstock.engines")
        self._child: ChildProcess | None = None
        self._patience = Patience()
        self._looked = 0.0
        self._complained = False
        self.waits = False
        """Whether it has gone as far as it may."""

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def keep(self, now: float) -> None:
        """Start one where there is none, and notice its end; ``now`` in monotonic seconds. The engine must serve."""
        if self._stage is None:
            return
        if self._child is None:
            if self._patience.is_over(now):
                self._child = ChildProcess(self._settings, self._device, self._deliveries, self._answers, self._stage)
        elif now - self._looked >= _LOOK_EVERY or not self.waits:
            self._looked = now
            self._listen()
            if self._child.has_ended():
                self._bury(now)

    def take(self) -> ChildProcess | None:
        """The spare, told to go on: it is an engine from now on. None where there is none alive."""
        child, self._child, self.waits = self._child, None, False
        if child is None:
            return None
        if child.has_ended():
            child.wait(timeout=0)
            return None
        child.tell(wire.token(Kind.GO))
        return child

    def stop(self) -> None:
        """End it: it holds nothing."""
        if self._child is not None:
            self._child.wait(timeout=0)
            self._child = None

    def _listen(self) -> None:
        """Hear whether it waits; what it waits for on the way there (models) is the serving engine's to tell."""
        assert self._child is not None
        try:
            while self._child.pipe.poll(0):
                if wire.read_token(self._child.pipe.recv_bytes())[0] is Kind.SPARE:
                    self.waits, self._complained = True, False
                    self._patience.succeeded()
        except (EOFError, OSError):
            pass  # it is dead, which is looked at next

    def _bury(self, now: float) -> None:
        assert self._child is not None
        status = self._child.wait(timeout=0)
        self._child, self.waits = None, False
        self._patience.failed(now)
        if not self._complained:
            self._complained = True
            self._log.warning("the spare engine died and is started again", device=self._device, status=status)
