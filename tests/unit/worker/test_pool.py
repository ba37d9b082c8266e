"""The engines of a worker: who is handed what, and what becomes of the jobs of one that dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.worker.making import a_delivery

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.settings import Settings
from penstock_worker.engine import pool as module
from penstock_worker.engine.pool import Pool, WorkerFailedError
from penstock_worker.engine.process import Died
from penstock_worker.engine.wire import Answer
from penstock_worker.intake.delivery import Delivery
from penstock_worker.metrics import WorkerMetrics

SIZE = 1000


class FakeEngine:
    """An engine that says what the test lets it say."""

    def __init__(self, settings: Settings, device: str) -> None:
        self.device = device
        self.waiting: str | None = None
        self.starts = 0
        self.said: deque[Any] = deque()
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.ready = True
        self.room = 2
        self.records = 0
        self.in_flight: dict[int, Delivery] = {}
        self.pipe, self._far = Pipe()

    @property
    def has_room(self) -> bool:
        return self.ready and self.room > 0

    @property
    def hungry(self) -> bool:
        return self.has_room

    def fits(self, delivery: Delivery) -> bool:
        return delivery.bytes <= SIZE

    def send(self, delivery: Delivery) -> None:
        self.room -= 1
        self.records += delivery.left
        self.in_flight[delivery.sequence] = delivery

    def say(self, what: Any) -> None:
        self.said.append(what)
        self._far.send_bytes(b"")

    def receive(self) -> Any:
        self.pipe.recv_bytes()
        return self.said.popleft()

    def answered(self, delivery: Delivery, records: int) -> None:
        self.records -= records
        if delivery.left == 0:
            del self.in_flight[delivery.sequence]

    def answer(self, sequence: int, *indices: int) -> None:
        self.say(([Answer(sequence, np.array(indices, np.int32).tobytes(), None, [b""] * len(indices), {})], None))

    def die(self, *suspects: tuple[int, list[int]]) -> None:
        running = [(sequence, np.array(indices, np.int32)) for sequence, indices in suspects]
        self.say(Died(-9, running, list(self.in_flight.values())))

    def stop(self, timeout: float) -> None:
        self.ready = False


class Settled:
    """What came of jobs, by offset."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.ended: dict[int, JobError] = {}

    def settle(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        self.done += delivery.offsets[indices].tolist()

    def end(self, delivery: Delivery, indices: Sequence[int], error: JobError) -> None:
        self.ended |= {int(delivery.offsets[index]): error for index in indices}


Make = Callable[..., tuple[Pool, list[Any], Settled]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    engines: list[FakeEngine] = []

    def engine(settings: Settings, device: str) -> FakeEngine:
        engines.append(FakeEngine(settings, device))
        return engines[-1]

    monkeypatch.setattr(module, "EngineProcess", engine)

    def make(devices: int = 1) -> tuple[Pool, list[Any], Settled]:
        settled = Settled()
        return Pool(Settings(fleet="f"), [f"gpu:{i}" for i in range(devices)], settled, WorkerMetrics()), engines, settled

    return make


def jobs(*offsets: int, partitions: Sequence[int] | None = None, size: int = 1) -> Delivery:
    return a_delivery([b"x" * size] * len(offsets), offsets=list(offsets), partitions=partitions)


def held(engine: FakeEngine) -> list[tuple[list[int], int, bool]]:
    """What the engine holds: offsets, attempt and whether one by one."""
    return [(d.offsets.tolist(), d.attempt, d.solo) for d in engine.in_flight.values()]


def test_the_engine_with_the_least_to_do_gets_the_next_delivery(make: Make) -> None:
    pool, engines, settled = make(2)
    for delivery in (jobs(0, 1, 2), jobs(3), jobs(4), jobs(5), jobs(6)):
        pool.add(delivery)
    assert not pool.hungry
    pool.turn(0)
    assert [held(engine) for engine in engines] == [
        [([0, 1, 2], 1, False), ([5], 1, False)],
        [([3], 1, False), ([4], 1, False)],
    ]
    assert pool.busy
    assert not pool.hungry, "one delivery waits"
    engines[1].room = 1
    engines[1].answer(2, 0)
    pool.turn(0)
    assert settled.done == [3]
    assert held(engines[1]) == [([4], 1, False), ([6], 1, False)]


def test_an_answer_counts_once(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.add(jobs(0, 1, 2))
    pool.turn(0)
    engine.answer(1, 0, 1)
    engine.answer(1, 1, 2)
    engine.answer(99, 0)  # of a delivery that nobody knows any more
    pool.turn(0)
    pool.turn(0)
    assert settled.done == [0, 1, 2]
    assert (engine.records, pool.busy) == (0, False)


def test_jobs_of_a_dead_engine_are_tried_again_first_and_suspects_alone(make: Make) -> None:
    pool, (engine,), settled = make()
    for delivery in (jobs(0, 1, 2), jobs(3), jobs(4)):
        pool.add(delivery)
    pool.turn(0)
    engine.answer(1, 0)
    engine.die((1, [0, 2]))
    pool.turn(0)
    engine.room = 9
    pool.turn(0)
    assert engine.starts == 2
    assert held(engine) == [([1], 1, False), ([2], 2, True), ([3], 1, False), ([4], 1, False)]
    assert settled.done == [0]


def test_jobs_that_crash_every_time_are_ended_and_cost_the_worker_nothing(make: Make) -> None:
    pool, (engine,), settled = make()
    for offset in range(4):
        pool.add(jobs(offset))
    for _ in range(40):
        if pool.busy:
            pool.turn(0)
            engine.die((next(iter(engine.in_flight)), [0]))
            pool.turn(0)
    assert not pool.busy
    assert sorted(settled.ended) == [0, 1, 2, 3]
    error = settled.ended[0]
    assert error.code is ErrorCode.ENGINE_CRASH
    assert error.message == "the engine died while it ran this job, 3 times (last status -9): it is not tried again"


def test_an_engine_that_does_not_come_up_ends_the_worker(make: Make) -> None:
    pool, (engine,), _ = make()
    for _ in range(4):
        engine.die()
        pool.turn(0)
    engine.die()
    with pytest.raises(
        WorkerFailedError, match=r"the engine on gpu:0 did not stay up for 5 starts in a row \(last status -9\)"
    ):
        pool.turn(0)
    assert engine.starts == 5


def test_what_waits_and_is_revoked_is_dropped(make: Make) -> None:
    pool, (engine,), _ = make()
    engine.ready = False
    for delivery in (jobs(0, 1, 2, partitions=[0, 1, 0]), jobs(3, partitions=[1]), jobs(4, partitions=[0])):
        pool.add(delivery)
    pool.drop({("f.jobs", 1), ("other", 0)})
    engine.ready, engine.room = True, 9
    pool.turn(0)
    assert held(engine) == [([0, 2], 1, False), ([4], 1, False)]


def test_a_delivery_that_fits_no_slot_is_halved_and_a_single_record_is_ended(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.add(jobs(0, 1, 2, size=400))
    pool.add(jobs(3, size=SIZE + 1))
    engine.room = 9
    pool.turn(0)
    assert held(engine) == [([0], 1, False), ([1, 2], 1, False)]
    assert settled.ended[3].code is ErrorCode.TOO_LARGE


def test_it_is_ready_when_every_engine_is_and_says_what_is_waited_for(make: Make) -> None:
    pool, engines, _ = make(2)
    assert pool.ready
    assert pool.problem() is None
    engines[1].ready, engines[1].waiting = False, "there is no folder m"
    assert not pool.ready
    assert pool.problem() == "engine on gpu:1: there is no folder m"
    pool.stop()
    assert pool.problem() == "engine on gpu:0: is starting"
