"""Owns the parent's side of one device's engine: handing it deliveries, taking its answers, noticing and replacing its dead."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock_worker.engine import wire
from penstock_worker.engine.child_process import ChildProcess
from penstock_worker.engine.death import Cause, Died
from penstock_worker.engine.slots import Slots
from penstock_worker.engine.spare import Spare
from penstock_worker.engine.watch import Watch
from penstock_worker.engine.wire import Answer, Kind, Notice, Running, Stats
from penstock_worker.intake.delivery import Isolation

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from penstock_schemas.settings import Settings
    from penstock_worker.intake.delivery import Delivery

_ANSWER_SLOTS: Final = 4
_SLACK: Final = 1024 * 1024
_LOOK_EVERY: Final = 1.0


class Said(NamedTuple):
    """Answers that an engine gave, with their batch's figures."""

    answers: list[Answer]
    figures: Stats | None


class Ready(NamedTuple):
    """An engine has its models warm. ``seconds``: since the death of the one before it that had; None: it is the first."""

    seconds: float | None


class EngineProcess:
    """The engine of one device, and its spare. All calls are from the worker's one thread; none blocks but :meth:`stop`.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, settings: Settings, device: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self.device = device
        self._clock = clock
        self.waiting: str | None = None
        """Why a declared model is not loaded yet; None where nothing is waited for."""
        self.in_flight: dict[int, Delivery] = {}
        self.records = 0
        """Unanswered records."""
        self.bytes = 0
        """Bytes of deliveries that are not wholly answered."""
        worker, topics = settings.worker, settings.topics
        size = max(worker.delivery_bytes, topics.max_job_bytes) + worker.delivery_records * 64 + _SLACK
        self._deliveries = Slots.create("penstock-deliveries", worker.window, size)
        self._answers = Slots.create(
            "penstock-answers", _ANSWER_SLOTS, max(worker.delivery_bytes, topics.max_outcome_bytes) + _SLACK
        )
        self.spare = Spare(settings, device, self._deliveries, self._answers)
        self._died_at: float | None = None
        """When the last engine that was ready died; None while one is ready, and before the first."""
        self._child: ChildProcess
        self.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def pipe(self) -> Connection:
        """Readable when the engine has something to say; for :func:`multiprocessing.connection.wait`."""
        return self._child.pipe

    def start(self) -> None:
        """Let the spare take over, or spawn a child. It loads its models on its own time: see :attr:`ready`."""
        self._child = self.spare.take() or ChildProcess(self._settings, self.device, self._deliveries, self._answers, "serving")
        self._watch = Watch(self._settings, self._child.pid)
        self._free = deque(range(self._deliveries.count))
        self._unread: dict[int, int] = {}
        """By slot, in the order of sending: deliveries that the engine has not read to their ends."""
        self._running: Running | None = None
        self._killed: tuple[Cause, float] | None = None
        self._looked = self._clock()
        self._watch.heard(self._looked)
        self._fruitless = True
        self.ready = False
        self.waiting = None

    @property
    def has_room(self) -> bool:
        """Whether another delivery may be sent: a free slot, and in-flight jobs under the bounds in records and bytes."""
        worker = self._settings.worker
        return (
            self.ready
            and bool(self._free)
            and self.records < worker.window * worker.delivery_records
            and self.bytes < worker.window * worker.delivery_bytes
        )

    @property
    def hungry(self) -> bool:
        """Whether it has room and less than half of what it may hold.

        Above that, what arrives is better left to gather: each delivery costs some 0.3 ms, however few its jobs.
        """
        worker = self._settings.worker
        half = worker.window / 2
        return self.has_room and self.records < half * worker.delivery_records and self.bytes < half * worker.delivery_bytes

    @property
    def alone(self) -> bool:
        """Whether what it holds is isolated."""
        return any(delivery.isolation != Isolation.NONE for delivery in self.in_flight.values())

    @property
    def stranded(self) -> bool:
        """Whether it waits for a declared model that the engine before it had, and that engine died ``model_grace`` ago."""
        died_at = self._died_at if self.waiting is not None else None
        return died_at is not None and self._clock() - died_at > self._settings.retry.model_grace

    def fits(self, delivery: Delivery, notice: Notice) -> bool:
        """Whether ``delivery`` fits a slot at all, together with ``notice``."""
        return wire.delivery_size(delivery, notice) <= self._deliveries.size

    def send(self, delivery: Delivery, notice: Notice) -> None:
        """Hand over a delivery that :meth:`fits`, while :attr:`has_room`.

        A dead engine is noticed by :meth:`receive`.
        """
        slot = self._free.popleft()
        wire.write_delivery(delivery, self._deliveries.view(slot), notice)
        self.in_flight[delivery.sequence] = delivery
        self._unread[slot] = delivery.sequence
        self.records += delivery.left
        self.bytes += delivery.bytes
        self._watch.heard(self._clock())
        self._child.tell(wire.token(Kind.DELIVERY, slot, delivery.sequence))

    def receive(self) -> Said | Ready | Died | None:
        """Read one token, which must be there."""
        try:
            kind, first, second, body = wire.read_token(self._child.pipe.recv_bytes())
        except (EOFError, OSError):
            return self._bury()
        now = self._clock()
        self._watch.heard(now)
        if kind is Kind.ANSWERS:
            return self._take_answers(first, last=second == 1)
        if kind is Kind.DELIVERY_READ:
            self._free.append(first)
            del self._unread[first]
        elif kind is Kind.RUNNING:
            self._running = wire.unpack_running(body) if body else self._running
            self._watch.runs(now, first / 1e6)
        elif kind is Kind.WAITING:
            self.waiting = body.decode()
        elif kind is Kind.READY:
            self.ready, self.waiting = True, None
            seconds, self._died_at = None if self._died_at is None else now - self._died_at, None
            return Ready(seconds)
        return None

    def watch(self) -> None:
        """Kill it where it is overdue or takes too much memory; look after the spare. To be called all the time."""
        now = self._clock()
        if self._killed is None and (why := self._watch.look(now, busy=not self.ready or bool(self.in_flight))) is not None:
            if self._child.pipe.poll(0):
                return  # what it has said may be that it is done: that is heard first
            self._killed = why
            self._child.kill()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            if self._child.has_ended() and not self._child.pipe.poll(0):
                self._child.kill()  # a process that it started holds its end of the pipe open
        if self.ready:
            self.spare.keep(now)

    def answered(self, delivery: Delivery, records: int) -> None:
        """Book ``records`` of ``delivery`` as answered; it is let go of when none is left."""
        self.records -= records
        self._fruitless = False
        if delivery.left == 0:
            del self.in_flight[delivery.sequence]
            self.bytes -= delivery.bytes

    def stop(self, timeout: float) -> None:
        """Ask the child to end, and kill it after ``timeout`` seconds."""
        self.spare.stop()
        self._child.tell(wire.token(Kind.STOP))
        self._child.wait(timeout if self.ready else 0)
        self._deliveries.close()
        self._answers.close()

    def _take_answers(self, slot: int, *, last: bool) -> Said:
        answers, figures = wire.read_answers(self._answers.view(slot))
        self._child.tell(wire.token(Kind.ANSWERS_READ, slot))
        if last:
            self._running = None
            self._watch.runs(self._clock(), 0)
        return Said(answers, figures)

    def _bury(self) -> Died:
        status = self._child.wait(timeout=1.0)  # its own exit status tells more than our SIGKILL would
        cause, limit = self._killed or (Cause.CRASH, 0.0)
        begun = (sequence for slot, sequence in self._unread.items() if wire.has_begun(self._deliveries.view(slot)))
        # Decoding has no limit of time: a step that had, and passed it, is the model's alone.
        decoding = None if cause is Cause.TIMEOUT else next(begun, None)
        died = Died(cause, limit, status, self._running, decoding, list(self.in_flight.values()), self._fruitless)
        self._died_at = self._clock() if self.ready else self._died_at
        self.ready = False
        self.in_flight = {}
        self.records = self.bytes = 0
        return died
