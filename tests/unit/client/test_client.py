"""Results and their errors, over the in-memory fleet: real bytes both ways."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support import eventually

from penstock import (
    Client,
    ClientClosed,
    DeliveryFailed,
    JobExpired,
    JobFailed,
    OutcomeError,
    PenstockError,
    ResultsUnavailable,
    ResultTimeout,
)
from penstock.testing import FakeFleet
from penstock.transports.memory import MemorySink, MemoryStore
from penstock_schemas.errors import ErrorCode

if TYPE_CHECKING:
    from penstock.transports.memory import Record

IMAGE = np.arange(64, dtype=np.float32).reshape(1, 8, 8)


def test_a_job_goes_round(fleet: FakeFleet, client: Client) -> None:
    job = client.submit("double", {"x": IMAGE})
    assert job.id
    outcome = job.result(timeout=10)
    np.testing.assert_array_equal(outcome["doubled"], IMAGE * 2)
    assert (outcome.status, outcome.attempts, outcome.model_name, outcome.model_version) == ("succeeded", 1, "double", "1")
    assert outcome.timings is not None
    assert outcome.id == job.id
    assert job.result() is outcome
    assert client.result(job.id, timeout=10)["rows"][0] == 1


def test_a_failed_job_raises_with_code_message_and_attempts(client: Client) -> None:
    job = client.submit("moody", {"x": [-1.0]})
    with pytest.raises(JobFailed, match=r"-1\.0 is below zero") as caught:
        job.result(10)
    error = caught.value
    assert (error.code, error.message, error.attempts, error.job_id) == ("model_error", "-1.0 is below zero", 1, job.id)
    assert error.outcome.status == "failed"
    polled = job.poll()
    assert polled is not None
    assert polled.status == "failed"


@pytest.mark.parametrize(
    ("model", "inputs", "options", "code"),
    [
        ("nobody", {"x": [1.0]}, {}, ErrorCode.UNKNOWN_MODEL),
        (None, {"x": [1.0]}, {}, ErrorCode.UNKNOWN_MODEL),
        ("double", {"x": [1.0]}, {"version": "9"}, ErrorCode.UNKNOWN_VERSION),
        ("double", {"x": [1.0]}, {"outputs": ["nobody"]}, ErrorCode.UNKNOWN_OUTPUT),
        ("double", {"x": [np.inf]}, {}, ErrorCode.NON_FINITE_INPUT),
        ("double", {"z": [1.0]}, {}, ErrorCode.MODEL_ERROR),
    ],
)
def test_the_fleet_s_own_errors_reach_the_caller(
    client: Client, model: str, inputs: Any, options: Any, code: ErrorCode
) -> None:
    with pytest.raises(JobFailed) as caught:
        client.submit(model, inputs, **options).result(10)
    assert caught.value.code == code


def test_a_job_whose_deadline_passes_while_it_waits_expires(fleet: FakeFleet, client: Client) -> None:
    with fleet.paused():
        job = client.submit("double", {"x": [1.0]}, timeout=5)
        fleet.advance(6)
    with pytest.raises(JobExpired) as caught:
        job.result(10)
    assert caught.value.code == "deadline_exceeded"


def test_a_wait_that_runs_out_is_none_of_these_and_the_job_goes_on(fleet: FakeFleet, client: Client) -> None:
    with fleet.paused():
        job = client.submit("double", {"x": [1.0]})
        assert job.poll() is None
        with pytest.raises(ResultTimeout, match=r"within 0\.01 s") as caught:
            job.result(timeout=0.01)
        assert not isinstance(caught.value, OutcomeError)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, PenstockError)
    assert job.result(10).status == "succeeded"


def test_a_wait_that_runs_out_while_redis_is_away_says_so(fleet: FakeFleet, client: Client) -> None:
    with fleet.results_unreachable():
        job = client.submit("double", {"x": [1.0]})
        with pytest.raises(ResultTimeout, match="switched off"):
            job.result(timeout=0.2)
        with pytest.raises(ResultsUnavailable):
            job.poll()
    assert job.result(10).status == "succeeded"


def test_a_redis_that_comes_back_is_ridden_out(fleet: FakeFleet, client: Client) -> None:
    with fleet.results_unreachable():
        job = client.submit("double", {"x": [1.0]})
        found: list[str] = []
        waiter = threading.Thread(target=lambda: found.append(job.result(60).status))
        waiter.start()
        eventually(lambda: client._core.trouble, "the waiter met the trouble")
    waiter.join(60)
    assert found == ["succeeded"]


def test_a_refused_job_ends_its_wait_at_once_and_flush_names_it(fleet: FakeFleet, client: Client) -> None:
    fine = client.submit("double", {"x": [1.0]})
    with fleet.refusing("not enough replicas"):
        job = client.submit("double", {"x": [1.0]}, id="lost")
    with pytest.raises(DeliveryFailed, match=r"lost \(not enough replicas\)") as caught:
        job.result()
    assert caught.value.job_ids == ["lost"]
    with pytest.raises(DeliveryFailed):
        job.poll()
    with pytest.raises(DeliveryFailed) as told:
        client.flush()
    assert told.value.job_ids == ["lost"]
    client.flush()  # told once
    assert fine.result(10).status == "succeeded"
    assert client.submit("double", {"x": [1.0]}, id="lost").result(10).status == "succeeded"


def test_a_refusal_while_waiting_ends_the_wait(fleet: FakeFleet) -> None:
    sink = MemorySink(lambda _record: "too late")
    client = Client.over(sink, MemoryStore())
    sink.pause()
    job = client.submit("double", {"x": [1.0]})
    caught: list[Exception] = []

    def wait() -> None:
        try:
            job.result()
        except PenstockError as error:
            caught.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    eventually(lambda: client._core._watcher and client._core._watcher._waiting, "the waiter waits")
    sink.resume()
    waiter.join(30)
    assert isinstance(caught[0], DeliveryFailed)
    with pytest.raises(DeliveryFailed):
        client.close()


def test_a_closed_client_says_so_and_closes_again(fleet: FakeFleet) -> None:
    client = fleet.client()
    with fleet.paused():
        job = client.submit("double", {"x": [1.0]})
        client.close()
        client.close()
        for use in (
            lambda: client.submit("double", {"x": [1.0]}),
            lambda: job.result(1),
            job.poll,
            client.flush,
            lambda: client.result("a"),
            lambda: next(client.map("double", [{"x": [1.0]}])),
        ):
            with pytest.raises(ClientClosed):
                use()


def test_a_client_without_redis_submits_and_says_that_it_cannot_read() -> None:
    taken: list[Record] = []
    with Client.over(MemorySink(taken.append), None) as client:
        job = client.submit("double", {"x": [1.0]})
        for use in (lambda: job.result(1), job.poll):
            with pytest.raises(ResultsUnavailable, match="no redis_url"):
                use()
    assert b"reply_to" not in taken[0][2]


def test_what_is_no_outcome_is_not_taken_for_one(fleet: FakeFleet, client: Client) -> None:
    fleet._store.set_first("penstock:result:strange", b"[]")
    with pytest.raises(ResultsUnavailable, match="strange is no outcome"):
        client.result("strange", timeout=10)
