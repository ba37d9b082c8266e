"""Owns a pool's engines and settler as its unit tests have them: they say, and keep, what the test wants."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.unit.worker.making import a_delivery

from penstock_schemas.errors import JobError
from penstock_schemas.settings import Settings
from penstock_worker.engine.death import Cause, Charge, Died
from penstock_worker.engine.process import Said
from penstock_worker.engine.wire import Answer, Notice, Running
from penstock_worker.intake.delivery import Delivery, Isolation
from penstock_worker.intake.ledger import Entry

SIZE = 1000
NONE, ALONE, SOLO = Isolation


class FakeEngine:
    """An engine that says what the test lets it say."""

    def __init__(self, settings: Settings, device: str, clock: object) -> None:
        self.device = device
        self.pid = 1
        self.waiting: str | None = None
        self.stranded = False
        self.starts = 0
        self.watched = 0
        self.notices: list[Notice] = []
        self.said: deque[Any] = deque()
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.ready = True
        self.room = 2
        self.records = 0
        self.fruitless = True
        self.in_flight: dict[int, Delivery] = {}
        self.pipe, self._far = Pipe()

    @property
    def has_room(self) -> bool:
        return self.ready and self.room > 0

    @property
    def hungry(self) -> bool:
        return self.has_room

    @property
    def alone(self) -> bool:
        return any(isolation(self))

    def fits(self, delivery: Delivery, notice: Notice) -> bool:
        return delivery.bytes <= SIZE

    def send(self, delivery: Delivery, notice: Notice) -> None:
        self.room -= 1
        self.records += delivery.left
        self.in_flight[delivery.sequence] = delivery
        self.notices.append(notice)

    def say(self, what: Any) -> None:
        self.said.append(what)
        self._far.send_bytes(b"")

    def receive(self) -> Any:
        self.pipe.recv_bytes()
        return self.said.popleft()

    def watch(self) -> None:
        self.watched += 1

    def answered(self, delivery: Delivery, records: int) -> None:
        self.records -= records
        self.fruitless = False
        if delivery.left == 0:
            del self.in_flight[delivery.sequence]
            self.room += 1

    def answer(self, sequence: int, *indices: int) -> None:
        self.say(Said([Answer(sequence, np.array(indices, np.int32).tobytes(), None, [b""] * len(indices), {})], None))

    def answer_all(self) -> None:
        for sequence, delivery in self.in_flight.items():
            self.answer(sequence, *delivery.unanswered().tolist())

    def die(self, *suspects: tuple[int, list[int]], decoding: int | None = None, cause: Cause = Cause.CRASH) -> None:
        jobs = [(sequence, np.array(indices, np.int32)) for sequence, indices in suspects]
        running = Running("m", "1", jobs) if jobs else None
        self.say(Died(cause, 0.0, -9, running, decoding, list(self.in_flight.values()), self.fruitless))

    def stop(self, timeout: float) -> None:
        self.ready = False


class Settled:
    """What came of jobs, by offset."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.ended: dict[int, JobError] = {}
        self.blamed: dict[int, JobError] = {}

    def settle(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        self.done += delivery.offsets[indices].tolist()

    def end(self, delivery: Delivery, indices: Sequence[int], error: JobError) -> None:
        self.ended |= {int(delivery.offsets[index]): error for index in indices}

    def blame(self, delivery: Delivery, index: int, charge: Charge) -> None:
        self.blamed[int(delivery.offsets[index])] = charge.error


def jobs(*offsets: int, partitions: Sequence[int] | None = None, size: int = 1, isolation: Isolation = NONE) -> Delivery:
    """Jobs read from these partitions, one entry a partition."""
    delivery = a_delivery([b"x" * size] * len(offsets), offsets=list(offsets), partitions=partitions)
    delivery.isolation = isolation
    read = [0] * len(offsets) if partitions is None else list(partitions)
    delivery.entries = [Entry(("f.jobs", partition), 0, 1) for partition in range(max(read) + 1)]
    delivery.which = np.array(read, np.int32)
    return delivery


def held(engine: FakeEngine) -> list[list[int]]:
    """The offsets of what the engine holds, by delivery."""
    return [d.offsets.tolist() for d in engine.in_flight.values()]


def isolation(engine: FakeEngine) -> list[Isolation]:
    return [d.isolation for d in engine.in_flight.values()]
