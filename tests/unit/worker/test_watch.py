"""When an engine is killed by its parent: deadlines that a frozen parent extends, and memory of the engine's own."""

from __future__ import annotations

import os

import numpy as np
import pytest

from penstock_schemas.settings import Settings
from penstock_worker.engine.death import Cause
from penstock_worker.engine.slots import Slots
from penstock_worker.engine.watch import Deadline, Patience, Watch, private_bytes

MIB = 1024 * 1024


def look_until(deadline: Deadline, begin: float, end: float, step: float = 0.5) -> float | None:
    """When it is first over, looked at every ``step`` seconds."""
    for i in range(int((end - begin) / step) + 1):
        if deadline.look(begin + i * step):
            return begin + i * step
    return None


def test_a_deadline_is_over_when_its_seconds_are() -> None:
    deadline = Deadline()
    assert look_until(deadline, 0.0, 1000.0) is None, "nothing runs"
    deadline.start(1000.0, 3.0)
    assert look_until(deadline, 1000.0, 2000.0) == 1003.0
    deadline.start(1003.0, 3.0)
    deadline.stop()
    assert not deadline.is_running
    assert look_until(deadline, 1003.0, 2000.0) is None


def test_time_in_which_nobody_looked_does_not_count() -> None:
    deadline = Deadline()
    deadline.start(0.0, 3.0)
    assert not deadline.look(0.5)
    assert not deadline.look(500.0)
    assert look_until(deadline, 500.0, 600.0) == 502.5, "2.5 s were left"


def test_a_freeze_before_its_start_adds_nothing() -> None:
    deadline = Deadline()
    deadline.look(0.0)
    deadline.start(500.0, 3.0)
    assert look_until(deadline, 500.0, 600.0) == 503.0


def a_watch(**worker: int) -> Watch:
    models = {"m": {"path": "m", "max_delay": 10.0}, "n": {"path": "n"}}
    return Watch(Settings.model_validate({"fleet": "f", "models": models, "worker": worker}), os.getpid())


def look(watch: Watch, begin: float, end: float, *, busy: bool = True) -> tuple[float, Cause, float] | None:
    for i in range(int((end - begin) * 2) + 1):
        if (why := watch.look(begin + i / 2, busy=busy)) is not None:
            return begin + i / 2, *why
    return None


def test_a_step_has_its_own_time_and_each_begins_anew() -> None:
    watch = a_watch()
    watch.heard(0.0)
    watch.runs(0.0, 100.0)
    assert look(watch, 0.0, 99.0) is None, "while a step runs, silence is as it should be"
    watch.runs(99.0, 5.0)
    assert look(watch, 99.0, 200.0) == (104.0, Cause.TIMEOUT, 5.0)


def test_an_engine_that_holds_jobs_and_says_nothing_is_taken_for_dead() -> None:
    watch = a_watch()
    watch.heard(0.0)
    assert look(watch, 0.0, 50.0) is None
    watch.runs(50.0, 5.0)
    watch.runs(51.0, 0)
    watch.heard(51.0)
    assert look(watch, 51.0, 500.0) == (121.0, Cause.SILENCE, 70.0), "jobs may wait for company in silence for 10 s"


def test_an_idle_engine_may_be_silent() -> None:
    watch = a_watch()
    watch.heard(0.0)
    assert look(watch, 0.0, 1000.0, busy=False) is None


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system does not tell what a process holds")  # noqa: PTH110
def test_memory_is_measured_and_shared_pages_do_not_count() -> None:
    before = private_bytes(os.getpid())
    assert before is not None
    slots = Slots.create("test", 1, 64 * MIB)
    slots.view(0)[:] = bytes(64 * MIB)
    shared = private_bytes(os.getpid())
    assert shared is not None
    assert shared - before < 32 * MIB
    own = np.ones(64 * MIB, np.uint8)
    private = private_bytes(os.getpid())
    assert private is not None
    assert private - shared > 32 * MIB
    assert own.all()
    slots.close()
    assert look(a_watch(engine_memory=private * 2), 0.0, 10.0, busy=False) is None
    assert look(a_watch(engine_memory=64 * MIB), 1.0, 10.0, busy=False) == (1.0, Cause.MEMORY, 64 * MIB)


def test_a_process_that_is_gone_holds_nothing_that_is_known() -> None:
    assert private_bytes(2**22 + 1) is None


def test_patience_grows_with_every_failure_in_a_row() -> None:
    patience = Patience()
    assert patience.is_over(0.0)
    waits = []
    for _ in range(8):
        patience.failed(100.0)
        waits.append(next(seconds for seconds in range(100) if patience.is_over(100.0 + seconds)))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    patience.succeeded()
    patience.failed(100.0)
    assert patience.is_over(101.0)
