"""The engines of a worker: who is handed what, and what becomes of the jobs of one that dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.unit.worker.fake_engines import ALONE, SIZE, SOLO, FakeEngine, Settled, held, isolation, jobs

from penstock_schemas.errors import ErrorCode
from penstock_schemas.settings import Settings
from penstock_worker.engine import pool as module
from penstock_worker.engine.backlog import Backlog
from penstock_worker.engine.death import Cause
from penstock_worker.engine.pool import Pool, WorkerFailedError
from penstock_worker.engine.process import Ready
from penstock_worker.engine.wire import Notice
from penstock_worker.intake.delivery import Delivery
from penstock_worker.intake.ledger import Entry
from penstock_worker.metrics import WorkerMetrics

Make = Callable[..., tuple[Pool, list[Any], Settled]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    engines: list[FakeEngine] = []

    def engine(settings: Settings, device: str, clock: object) -> FakeEngine:
        engines.append(FakeEngine(settings, device, clock))
        return engines[-1]

    monkeypatch.setattr(module, "EngineProcess", engine)

    def make(devices: int = 1) -> tuple[Pool, list[Any], Settled]:
        settled = Settled()
        return Pool(Settings(fleet="f"), [f"gpu:{i}" for i in range(devices)], settled, WorkerMetrics()), engines, settled

    return make


def test_the_engine_with_the_least_to_do_gets_the_next_delivery(make: Make) -> None:
    pool, engines, settled = make(2)
    for delivery in (jobs(0, 1, 2), jobs(3), jobs(4), jobs(5), jobs(6)):
        pool.add(delivery)
    assert not pool.hungry
    pool.turn(0)
    assert [held(engine) for engine in engines] == [[[0, 1, 2], [5]], [[3], [4]]]
    assert pool.busy
    assert not pool.hungry, "one delivery waits"
    engines[1].answer(2, 0)
    pool.turn(0)
    pool.turn(0)
    assert settled.done == [3]
    assert held(engines[1]) == [[4], [6]]
    assert [engine.watched for engine in engines] == [3, 3]


def test_an_answer_counts_once(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.add(jobs(0, 1, 2))
    pool.turn(0)
    engine.answer(1, 0, 1)
    engine.answer(1, 1, 2)
    engine.answer(99, 0)  # of a delivery that nobody knows any more
    pool.turn(0)
    assert settled.done == [0, 1, 2]
    assert (engine.records, pool.busy) == (0, False)


def test_blocked_models_travel_with_each_delivery(make: Make) -> None:
    pool, (engine,), _ = make()
    pool.add(jobs(0))
    pool.turn(0)
    pool.notice = Notice(frozenset({"m"}))
    pool.add(jobs(1))
    pool.turn(0)
    assert engine.notices == [Notice(), Notice(frozenset({"m"}))]


def test_suspects_of_a_dead_engine_run_by_themselves_and_the_others_as_before(make: Make) -> None:
    pool, (engine,), settled = make()
    for delivery in (jobs(0, 1, 2), jobs(3), jobs(4)):
        pool.add(delivery)
    pool.turn(0)
    engine.answer(1, 0)
    engine.die((1, [0, 2]), (2, [0]))
    pool.turn(0)
    pool.turn(0)
    assert (engine.starts, settled.done, settled.blamed) == (2, [0], {})
    seen = []
    while pool.busy:
        seen += held(engine)
        engine.answer_all()
        pool.turn(0)
        pool.turn(0)
    assert seen == [[2], [1], [3], [4]], "isolated ones and others in turn: neither kind waits for ever"
    assert sorted(settled.done) == [0, 1, 2, 3, 4]


def test_a_job_that_was_the_only_suspect_is_blamed_and_not_tried_again(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.add(jobs(0, 1, 2, isolation=SOLO))
    pool.turn(0)
    engine.answer(1, 0)
    engine.die((1, [1]), cause=Cause.TIMEOUT)
    pool.turn(0)
    pool.turn(0)
    assert (held(engine), isolation(engine)) == ([[2]], [SOLO])
    assert list(settled.blamed) == [1]
    assert settled.blamed[1].code is ErrorCode.ENGINE_TIMEOUT


def test_an_isolated_delivery_waits_for_an_engine_that_is_empty_and_keeps_it_to_itself(make: Make) -> None:
    pool, (first, second), settled = make(2)
    for delivery in (jobs(0, 1), jobs(2, 3, 4)):
        pool.add(delivery)
    pool.turn(0)
    assert (held(first), held(second)) == ([[0, 1]], [[2, 3, 4]])
    pool.add(jobs(10, 11, isolation=ALONE))
    pool.add(jobs(5))
    pool.turn(0)
    assert (held(first), held(second)) == ([[0, 1]], [[2, 3, 4], [5]]), "the first is kept free for it"
    assert not pool.hungry
    first.answer(1, 0, 1)
    pool.turn(0)
    pool.turn(0)
    assert (held(first), isolation(first)) == ([[10, 11]], [ALONE])
    pool.add(jobs(6))
    second.answer_all()
    first.answer(4, 0)
    pool.turn(0)
    assert pool.busy
    pool.turn(0)
    assert (held(first), held(second)) == ([[10, 11]], [[6]]), "as long as one of them is not answered"
    assert pool.hungry, "the second has room"
    second.room = 0
    assert not pool.hungry
    first.answer(4, 1)
    pool.turn(0)
    assert pool.hungry
    assert settled.done.count(10) == 1


def test_an_engine_that_does_not_come_up_ends_the_worker(make: Make) -> None:
    pool, (engine,), _ = make()
    for _ in range(4):
        engine.die()
        pool.turn(0)
    engine.die()
    with pytest.raises(
        WorkerFailedError, match=r"the engine on gpu:0 did not stay up for 5 starts in a row \(the last one: ended by SIGKILL\)"
    ):
        pool.turn(0)
    assert engine.starts == 5


def test_a_worker_ends_when_none_of_its_engines_finds_its_models_any_more(make: Make) -> None:
    pool, engines, _ = make(2)
    engines[0].ready, engines[0].waiting, engines[0].stranded = False, "model 'm': there is no folder m", True
    pool.turn(0)
    engines[1].stranded = True
    with pytest.raises(WorkerFailedError, match=r"^engine on gpu:0: model 'm': there is no folder m; others may have it"):
        pool.turn(0)


def test_an_isolated_job_that_was_not_even_decoded_is_no_excuse_for_an_engine(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.add(jobs(0, isolation=SOLO))
    with pytest.raises(WorkerFailedError):  # noqa: PT012  # in the fifth turn, and not before
        for _ in range(5):
            pool.turn(0)
            engine.die()
            pool.turn(0)
    assert (engine.starts, settled.blamed) == (5, {})


def test_deaths_after_an_answer_or_with_a_suspect_do_not_end_the_worker(make: Make) -> None:
    pool, (engine,), settled = make()
    for offset in range(20):
        for _ in range(4):
            engine.die()
            pool.turn(0)
        pool.add(jobs(offset))
        pool.turn(0)
        sequence = next(iter(engine.in_flight))
        if offset % 3 == 0:
            engine.answer(sequence, 0)
            engine.fruitless = False
            engine.die()
        elif offset % 3 == 1:
            engine.die((sequence, [0]))
        else:
            engine.die(decoding=sequence)
        pool.turn(0)
    assert len(settled.done) + len(settled.blamed) == 20


def test_a_takeover_is_timed(make: Make) -> None:
    pool, (engine,), _ = make()
    engine.say(Ready(None))
    engine.say(Ready(0.25))
    pool.turn(0)
    registry = pool._metrics.registry
    assert registry.get_sample_value("penstock_engine_takeover_seconds_sum") == 0.25
    assert registry.get_sample_value("penstock_engine_takeover_seconds_count") == 1


def test_what_waits_and_is_revoked_is_dropped(make: Make) -> None:
    pool, (engine,), _ = make()
    engine.ready = False
    for delivery in (jobs(0, 1, 2, partitions=[0, 1, 0]), jobs(3, partitions=[1]), jobs(4, partitions=[0])):
        pool.add(delivery)
    pool.add(jobs(5, 6, partitions=[0, 1], isolation=SOLO))
    assert pool.drop({("f.jobs", 1), ("other", 0)}) == 3
    engine.ready, engine.room = True, 9
    pool.turn(0)
    assert held(engine) == [[5]]
    engine.answer_all()
    pool.turn(0)
    pool.turn(0)
    assert held(engine) == [[0, 2], [4]]


def test_a_retried_job_is_dropped_by_where_it_was_read_and_not_by_its_origin() -> None:
    backlog = Backlog()
    retried = jobs(0, 1)
    retried.entries, retried.which = [Entry(("f.retry.10s", 3), 0, 1), Entry(("f.retry.10s", 4), 0, 1)], np.array([0, 1])
    backlog.add(retried)
    assert backlog.drop({("f.jobs", 0)}) == 0
    assert backlog.drop({("f.retry.10s", 3)}) == 1
    assert [delivery.offsets.tolist() for delivery in backlog.normal] == [[1]]


def test_a_delivery_that_fits_no_slot_is_halved_and_a_single_record_is_ended(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.add(jobs(0, 1, 2, size=400))
    pool.add(jobs(3, size=SIZE + 1))
    pool.add(jobs(4, size=SIZE + 1, isolation=SOLO))
    engine.room = 9
    pool.turn(0)
    assert held(engine) == [[0], [1, 2]]
    assert {offset: error.code for offset, error in settled.ended.items()} == dict.fromkeys((3, 4), ErrorCode.TOO_LARGE)


def test_it_is_ready_when_every_engine_is_and_says_what_is_waited_for(make: Make) -> None:
    pool, engines, _ = make(2)
    assert pool.ready
    assert pool.problem() is None
    engines[1].ready, engines[1].waiting = False, "there is no folder m"
    assert not pool.ready
    assert pool.problem() == "engine on gpu:1: there is no folder m"
    pool.stop()
    assert pool.problem() == "engine on gpu:0: is starting"


def an_announced(*numbers: int) -> Delivery:
    delivery = jobs(*numbers, isolation=ALONE if len(numbers) > 1 else SOLO)
    delivery.announced = True
    return delivery


def test_a_closed_pool_runs_what_is_announced_and_nothing_beside_it_on_any_engine(make: Make) -> None:
    pool, (first, second), settled = make(2)
    pool.add(jobs(0))
    pool.turn(0)
    pool.add(jobs(1))
    assert not pool.close(), "a job is with an engine"
    pool.turn(0)
    assert (held(first), held(second)) == ([[0]], []), "it is finished, and nothing else begins"
    first.answer_all()
    pool.turn(0)
    assert pool.close()
    assert not pool.hungry
    pool.add(an_announced(7))
    pool.add(an_announced(8))
    for number in (7, 8):
        pool.turn(0)
        assert (held(first), held(second)) == ([[number]], [])
        first.answer_all()
        pool.turn(0)
    pool.let_in()
    pool.turn(0)
    assert held(first) + held(second) == [[1]]
    assert settled.done == [0, 7, 8]


def test_what_waited_while_the_pool_was_closed_has_its_turn_before_it_is_closed_again(make: Make) -> None:
    pool, (engine,), _ = make()
    assert pool.close()
    pool.add(jobs(1))
    pool.let_in()
    assert not pool.close()
    pool.turn(0)
    assert held(engine) == [[1]]
    assert not pool.close()
    pool.add(jobs(2))
    pool.turn(0)
    assert held(engine) == [[1]], "now it is closed, and waits for that one"
    engine.answer_all()
    pool.turn(0)
    assert pool.close()


def test_a_pool_is_not_closed_over_what_is_isolated(make: Make) -> None:
    pool, (first, second), _ = make(2)
    pool.add(jobs(0, isolation=SOLO))
    pool.turn(0)
    pool.add(jobs(1))
    assert not pool.close()
    pool.turn(0)
    assert (held(first), held(second)) == ([[0]], [[1]]), "that may take long: others run meanwhile"


def test_parts_of_an_announced_chunk_that_killed_its_engine_run_before_others_do(make: Make) -> None:
    pool, (engine,), settled = make()
    pool.close()
    pool.add(jobs(9))
    pool.add(an_announced(1, 2, 3))
    pool.turn(0)
    engine.die((1, [0, 1]))
    pool.turn(0)
    seen = []
    for _ in range(4):
        pool.turn(0)
        seen += held(engine)
        engine.answer_all()
    assert seen == [[1, 2], [3]]
    pool.let_in()
    pool.turn(0)
    assert held(engine) == [[9]]
    assert sorted(settled.done) == [1, 2, 3]


def test_what_was_announced_of_a_partition_that_has_gone_is_isolated_still(make: Make) -> None:
    pool, (engine,), _ = make()
    pool.close()
    pool.add(an_announced(1, 2))
    pool.turn(0)
    pool.let_in()
    engine.die((1, [0, 1]))
    pool.turn(0)
    pool.turn(0)
    assert (held(engine), isolation(engine)) == ([[1, 2]], [SOLO])


def test_what_is_withheld_waits_and_answers_are_taken_all_the_same(make: Make) -> None:
    pool, engines, settled = make()
    pool.add(jobs(0))
    pool.turn(0)
    pool.withheld = True
    assert not pool.hungry
    pool.add(jobs(1))
    engines[0].answer(1, 0)
    pool.turn(0)
    assert (held(engines[0]), settled.done) == ([], [0])
    assert pool.busy
    pool.withheld = False
    pool.turn(0)
    assert held(engines[0]) == [[1]]


def test_what_was_announced_once_does_not_run_under_another_announcement(make: Make) -> None:
    pool, engines, _ = make()
    stale = jobs(7, isolation=SOLO)
    stale.announced = True
    pool._backlog.put_back([stale])
    assert pool.close()
    other = jobs(9, isolation=SOLO)
    other.announced = True
    pool.add(other)
    pool.turn(0)
    assert held(engines[0]) == [[9]]
