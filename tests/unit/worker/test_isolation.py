"""Isolated deliveries: whatever waits, an engine that has one has nothing else, and everything is run once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.fake_engines import FakeEngine, Settled, isolation, jobs

from penstock_schemas.settings import Settings
from penstock_worker.engine import pool as module
from penstock_worker.engine.pool import Pool
from penstock_worker.intake.delivery import Isolation
from penstock_worker.metrics import WorkerMetrics


@given(st.lists(st.tuples(st.sampled_from(Isolation), st.integers(1, 4)), max_size=20), st.integers(1, 3))
def test_everything_is_run_once_and_nothing_beside_what_is_isolated(waiting: list[tuple[Isolation, int]], devices: int) -> None:
    engines: list[FakeEngine] = []

    def engine(settings: Settings, device: str, clock: object) -> FakeEngine:
        engines.append(FakeEngine(settings, device, clock))
        return engines[-1]

    settled = Settled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EngineProcess", engine)
        pool = Pool(Settings(fleet="f"), [f"gpu:{i}" for i in range(devices)], settled, WorkerMetrics())
    offset = 0
    for kind, count in waiting:
        pool.add(jobs(*range(offset, offset + count), isolation=kind))
        offset += count
    for turn in range(3 * len(waiting) + 3):
        pool.turn(0)
        for one in engines:
            assert len(one.in_flight) == 1 or not any(isolation(one))
        engines[turn % devices].answer_all()
    assert not pool.busy
    assert pool.hungry
    assert settled.done == sorted(settled.done) or sorted(settled.done) == list(range(offset))
    assert len(settled.done) == offset
