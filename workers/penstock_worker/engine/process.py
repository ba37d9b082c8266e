"""Owns the parent's side of one engine: spawning it, handing it deliveries, taking its answers, noticing its death."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from penstock_worker.engine import wire
from penstock_worker.engine.slots import Slots
from penstock_worker.engine.wire import Answer, Kind, Stats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock_schemas.settings import Settings
    from penstock_worker.intake.delivery import Delivery

_ANSWER_SLOTS = 4
_SLACK = 1024 * 1024


class Died(NamedTuple):
    """An engine is gone: its exit status, what it was running, and the deliveries that it had not answered."""

    status: int | None
    suspects: list[tuple[int, NDArray[np.int32]]]
    unanswered: list[Delivery]


class EngineProcess:
    """One engine child. All calls are from the worker's one thread; none blocks but :meth:`stop`."""

    def __init__(self, settings: Settings, device: str) -> None:
        self._settings = settings
        self.device = device
        self.ready = False
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
        self._free: deque[int] = deque()
        self._suspects: list[tuple[int, NDArray[np.int32]]] = []
        self._pipe: Connection
        self._process: subprocess.Popen[bytes]
        self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pipe(self) -> Connection:
        """Readable when the engine has something to say; for :func:`multiprocessing.connection.wait`."""
        return self._pipe

    def start(self) -> None:
        """Spawn the child. It loads its models on its own time: see :attr:`ready`."""
        ours, theirs = socket.socketpair()
        arguments = [theirs.fileno(), self._deliveries.fd, self._answers.fd]
        arguments += [self._deliveries.count, self._deliveries.size, self._answers.count, self._answers.size]
        environment = dict(os.environ)
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        else:
            environment["CUDA_VISIBLE_DEVICES"] = self.device.removeprefix("gpu:")
        with theirs:
            # A session of its own: Ctrl-C reaches the parent alone, which then drains.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock_worker.engine", *map(str, arguments), self.device],
                pass_fds=(theirs.fileno(), self._deliveries.fd, self._answers.fd),
                env=environment,
                start_new_session=True,
            )
        self._pipe = Connection(ours.detach())
        self._free = deque(range(self._deliveries.count))
        self._suspects = []
        self.ready = False
        self.waiting = None
        self._tell(self._settings.model_dump_json().encode())

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

    def fits(self, delivery: Delivery) -> bool:
        """Whether ``delivery`` fits a slot at all."""
        return wire.delivery_size(delivery) <= self._deliveries.size

    def send(self, delivery: Delivery) -> None:
        """Hand over a delivery that :meth:`fits`, while :attr:`has_room`. A dead engine is noticed by :meth:`receive`."""
        slot = self._free.popleft()
        wire.write_delivery(delivery, self._deliveries.view(slot))
        self.in_flight[delivery.sequence] = delivery
        self.records += delivery.left
        self.bytes += delivery.bytes
        try:
            self._pipe.send_bytes(wire.token(Kind.DELIVERY, slot, delivery.sequence))
        except OSError:
            pass

    def receive(self) -> tuple[list[Answer], Stats | None] | Died | None:
        """Read one token, which must be there. Answers come with their batch's figures; other tokens give None."""
        try:
            kind, first, _, body = wire.read_token(self._pipe.recv_bytes())
        except (EOFError, OSError):
            return self._bury()
        if kind is Kind.ANSWERS:
            answers, figures = wire.read_answers(self._answers.view(first))
            self._tell(wire.token(Kind.ANSWERS_READ, first))
            return answers, figures
        if kind is Kind.DELIVERY_READ:
            self._free.append(first)
        elif kind is Kind.RUNNING:
            self._suspects = wire.unpack_running(body)
        elif kind is Kind.WAITING:
            self.waiting = body.decode()
        elif kind is Kind.READY:
            self.ready, self.waiting = True, None
        return None

    def answered(self, delivery: Delivery, records: int) -> None:
        """Book ``records`` of ``delivery`` as answered; it is let go of when none is left."""
        self.records -= records
        if delivery.left == 0:
            del self.in_flight[delivery.sequence]
            self.bytes -= delivery.bytes

    def stop(self, timeout: float) -> None:
        """Ask the child to end, and kill it after ``timeout`` seconds."""
        self._tell(wire.token(Kind.STOP))
        try:
            self._process.wait(timeout if self.ready else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()
        self._deliveries.close()
        self._answers.close()

    def _tell(self, token: bytes) -> None:
        try:
            self._pipe.send_bytes(token)
        except OSError:
            pass  # it is dead: the next receive says so

    def _bury(self) -> Died:
        self._pipe.close()
        try:
            status = self._process.wait(timeout=1.0)  # its own exit status tells more than our SIGKILL would
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.ready = False
        died = Died(status, self._suspects, list(self.in_flight.values()))
        self.in_flight = {}
        self.records = self.bytes = 0
        return died
