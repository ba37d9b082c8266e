"""What is told of an engine that has died, to people and to the one job that is to blame."""

from __future__ import annotations

import numpy as np
import pytest

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.death import Cause, Charge, Died, charge
from penstock_worker.engine.wire import Running


@pytest.mark.parametrize(
    ("cause", "limit", "status", "code", "ending"),
    [
        (Cause.CRASH, 0, -11, ErrorCode.ENGINE_CRASH, "ended by SIGSEGV"),
        (Cause.CRASH, 0, 3, ErrorCode.ENGINE_CRASH, "exit status 3"),
        (Cause.CRASH, 0, -99, ErrorCode.ENGINE_CRASH, "ended by signal 99"),
        (Cause.TIMEOUT, 2.5, -9, ErrorCode.ENGINE_TIMEOUT, "killed, as a step took longer than the model's timeout of 2.5 s"),
        (Cause.SILENCE, 60, -9, ErrorCode.ENGINE_TIMEOUT, "killed, as it said nothing for 60 s"),
        (
            Cause.MEMORY,
            3_000_000_000,
            -9,
            ErrorCode.OUT_OF_MEMORY,
            "killed, as it took more than 3000000000 bytes of memory (worker.engine_memory)",
        ),
    ],
)
def test_a_blamed_jobs_error_says_what_it_was_doing_and_how_its_engine_ended(
    cause: Cause, limit: float, status: int, code: ErrorCode, ending: str
) -> None:
    running = Running("m", "1", [(7, np.array([0], np.int32))])
    died = Died(cause, limit, status, running, None, [], fruitless=True)
    error = JobError(code, f"the engine died while model 'm' version 1 ran this job alone: {ending}")
    assert charge(died, 7, "e") == Charge(error, "e", "m", "1")
    undecoded = charge(died, 8, "e")
    assert undecoded.error.message == f"the engine died while it decoded this job alone: {ending}"
    assert undecoded.model is None, "it is better not decoded again anywhere else"
