"""The client over the in-memory fleet: real bytes both ways, every option, every error."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support import eventually

from penstock import (
    Client,
    ClientClosed,
    DeliveryFailed,
    FlushTimeout,
    InvalidJob,
    Job,
    JobExpired,
    JobFailed,
    OutcomeError,
    PenstockError,
    QueueFull,
    ResultsUnavailable,
    ResultTimeout,
)
from penstock.testing import Fail, FakeFleet
from penstock.transports.memory import MemorySink, MemoryStore
from penstock_schemas.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.transports.memory import Record

IMAGE = np.arange(64, dtype=np.float32).reshape(1, 8, 8)


def double(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 2, "rows": np.array([len(inputs["x"])], np.int64)}


def moody(inputs: dict[str, Any]) -> dict[str, Any]:
    if inputs["x"][0] < 0:
        raise Fail(f"{inputs['x'][0]} is below zero")
    return {"y": inputs["x"]}


@pytest.fixture
def fleet(fake_fleet: FakeFleet) -> FakeFleet:
    fake_fleet.serve("double", double)
    fake_fleet.serve("moody", moody)
    return fake_fleet


@pytest.fixture
def client(fleet: FakeFleet) -> Iterator[Client]:
    with fleet.client() as client:
        yield client


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


def test_everything_that_submit_accepts_reaches_the_fleet(fleet: FakeFleet, client: Client) -> None:
    fleet.serve("double", lambda _inputs: {"doubled": [3.0], "rows": [3]}, version=3)
    job = client.submit(
        "double",
        {"x": [1.0]},
        id="order:7",
        version=1,
        timeout=2.5,
        outputs=["rows"],
        headers={"traceparent": "00-ab-cd-01", "raw": b"\x00"},
        queue="slow",
        signature="other",
    )
    assert job.id == "order:7"
    assert list(job.result(10).outputs) == ["rows"]
    (received,) = fleet.jobs
    assert received.topic == "penstock.jobs.slow"
    assert (received.id, received.version, received.timeout, received.signature) == ("order:7", "1", 2.5, "other")
    assert received.headers == (("traceparent", b"00-ab-cd-01"), ("raw", b"\x00"))


def test_like_jobs_share_their_first_line_and_carry_no_headers(fleet: FakeFleet, client: Client) -> None:
    for value in (1.0, 2.0):
        client.submit("double", {"x": np.array([value], np.float32)})
    first, second = fleet.jobs
    line = first.value.split(b"\n")[0]
    assert second.value.startswith(line)
    assert first.id.encode() not in line
    assert client.client_id.encode() in line
    assert first.value[len(line) + 1 :] == np.float32(1.0).tobytes()
    assert first.headers == ()


def test_json_on_request(fleet: FakeFleet, client: Client) -> None:
    outcome = client.submit("double", {"x": np.array([1.5], np.float32)}, encoding="json").result(10)
    assert b'"data":[1.5]' in fleet.jobs[0].value
    assert outcome["doubled"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([1, 2], np.array([1, 2], np.int64)),
        ([1.5], np.array([1.5], np.float64)),
        (np.array([1.5], np.float64), np.array([1.5], np.float64)),
        (np.array([1.5], np.float16), np.array([1.5], np.float16)),
        (np.array([True]), np.array([True])),
        (np.array([258], ">u2"), np.array([258], "<u2")),
        (np.arange(6, dtype=np.int32).reshape(2, 3).T, np.arange(6, dtype=np.int32).reshape(2, 3).T),
        (np.float32(2), np.array(2, np.float32)),
        (["Zürich", ""], np.array(["Zürich".encode(), b""], object)),
        ([b"a\0\0", b"\xff"], np.array([b"a\0\0", b"\xff"], object)),
        (np.array(["ab", "c"]), np.array([b"ab", b"c"], object)),
        ([["a"], ["b"]], np.array([[b"a"], [b"b"]], object)),
    ],
)
def test_inputs_arrive_as_numpy_sees_them(fleet: FakeFleet, client: Client, given: Any, wanted: Any) -> None:
    fleet.serve("any", lambda _inputs: {"ok": [True]})
    client.submit("any", {"x": given}).result(10)
    received = fleet.jobs[0].inputs["x"]
    assert received.dtype == wanted.dtype
    np.testing.assert_array_equal(received, wanted)


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        ({"x": np.zeros(2, complex)}, {}, "complex128"),
        ({"x": np.array([1, "a", None], object)}, {}, "element 0 is int"),
        ({"x": [[1], [1, 2]]}, {}, "'x' cannot be made an array"),
        ({"x": np.array(["2024-01-01"], "M8[D]")}, {}, "datetime64"),
        ({}, {}, "at least one input"),
        ([1, 2], {}, "must be a mapping"),
        ({"x": [1]}, {"id": "~mine"}, "'~mine' is not allowed"),
        ({"x": [1]}, {"id": "a b"}, "'a b' is not allowed"),
        ({"x": [1]}, {"timeout": 0}, "timeout is 0"),
        ({"x": [1]}, {"timeout": float("nan")}, "timeout is nan"),
        ({"x": [1]}, {"queue": "No.Such"}, "queue 'No.Such'"),
        ({"x": [1]}, {"encoding": "xml"}, "'binary' or 'json'"),
        ({"x": [1]}, {"outputs": "rows"}, "list of output names"),
        ({"x": np.array([np.nan])}, {"encoding": "json"}, "NaN"),
    ],
)
def test_what_cannot_be_a_job_is_refused_before_anything_is_sent(
    fleet: FakeFleet, client: Client, inputs: Any, options: Any, says: str
) -> None:
    with pytest.raises(InvalidJob, match=says) as caught:
        client.submit("double", inputs, **options)
    assert isinstance(caught.value, ValueError)
    assert not fleet.jobs


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


def test_leaving_the_block_raises_for_refused_jobs(fleet: FakeFleet) -> None:
    def submit_seven() -> None:
        with fleet.client() as client, fleet.refusing():
            for number in range(7):
                client.submit("double", {"x": [1.0]}, id=str(number))

    with pytest.raises(DeliveryFailed) as caught:
        submit_seven()
    assert caught.value.job_ids == [str(number) for number in range(7)]
    assert "7 jobs" in str(caught.value)
    assert "2 more" in str(caught.value)


def test_leaving_the_block_with_an_error_does_not_hide_it(fleet: FakeFleet) -> None:
    def submit_and_fail() -> None:
        with fleet.client() as client, fleet.refusing():
            client.submit("double", {"x": [1.0]})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        submit_and_fail()


def test_a_full_local_queue_blocks_and_then_raises() -> None:
    taken: list[Record] = []
    sink = MemorySink(taken.append, capacity=1)
    client = Client.over(sink, None, queue_timeout=0.05)
    sink.pause()
    client.submit("double", {"x": [1.0]})
    with pytest.raises(QueueFull, match=r"full for 0\.05 s"):
        client.submit("double", {"x": [1.0]})
    with pytest.raises(FlushTimeout) as caught:
        client.flush(timeout=0.01)
    assert caught.value.unconfirmed == 1
    client._core.queue_timeout = 60
    submitter = threading.Thread(target=lambda: client.submit("double", {"x": [1.0]}))
    submitter.start()
    sink.resume()
    submitter.join(60)
    assert len(taken) == 2
    client.close()


def test_closing_names_what_could_not_be_sent() -> None:
    sink = MemorySink(lambda _record: None)
    client = Client.over(sink, None)
    sink.pause()
    job = client.submit("double", {"x": [1.0]})
    with pytest.raises(DeliveryFailed) as caught:
        client.close(timeout=0.01)
    assert caught.value.job_ids == [job.id]
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


def test_a_client_id_that_no_channel_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="client_id 'a b'"):
        Client.over(MemorySink(lambda _record: None), None, client_id="a b")


def test_map_keeps_the_order_and_bounds_what_is_on_its_way(fleet: FakeFleet, client: Client) -> None:
    made = 0

    def items() -> Iterator[dict[str, Any]]:
        nonlocal made
        for number in range(500):
            made += 1
            yield {"x": np.array([number], np.float32)}

    ahead = 0
    for count, outcome in enumerate(client.map("double", items(), window=10, wait=30)):
        assert outcome["doubled"][0] == 2 * count
        ahead = max(ahead, made - count)
    assert made == 500
    assert ahead <= 11


def test_map_takes_arrays_for_a_named_input(client: Client) -> None:
    outcomes = client.map("double", np.ones((3, 2, 4), np.float32), input="x", outputs=["rows"])
    assert [int(outcome["rows"][0]) for outcome in outcomes] == [2, 2, 2]
    with pytest.raises(InvalidJob, match="input='image'"):
        list(client.map("double", np.ones((3, 2, 4), np.float32)))


def test_map_raises_for_a_failed_job_or_yields_it(client: Client) -> None:
    items = [{"x": [1.0]}, {"x": [-1.0]}, {"x": [2.0]}]
    outcomes = client.map("moody", items)
    assert next(outcomes).status == "succeeded"
    with pytest.raises(JobFailed):
        next(outcomes)
    assert [outcome.status for outcome in client.map("moody", items, raising=False)] == ["succeeded", "failed", "succeeded"]


def test_map_says_which_job_it_waited_for_in_vain(fleet: FakeFleet, client: Client) -> None:
    with fleet.paused(), pytest.raises(ResultTimeout):
        list(client.map("double", [{"x": [1.0]}], wait=0.01))
    assert client._core._watcher is not None
    assert not client._core._watcher._waiting


def test_as_completed_yields_each_job_once_as_it_ends(fleet: FakeFleet, client: Client) -> None:
    fine = [client.submit("double", {"x": [float(number)]}) for number in range(20)]
    failed = client.submit("moody", {"x": [-1.0]})
    with fleet.refusing():
        refused = client.submit("double", {"x": [1.0]})
    ended = list(client.as_completed([fine[0], *fine, failed, refused], window=5, wait=30))
    assert sorted(job.id for job in ended) == sorted(job.id for job in [*fine, failed, refused])
    assert [job.result()["doubled"][0] for job in fine] == [2.0 * number for number in range(20)]
    with pytest.raises(JobFailed):
        failed.result()
    with pytest.raises(DeliveryFailed):
        refused.result()
    with pytest.raises(DeliveryFailed):
        client.flush()
    assert len(list(client.as_completed(fine))) == 20  # what is known already is not waited for


def test_as_completed_does_not_wait_for_the_slow(fleet: FakeFleet, client: Client) -> None:
    fast = client.submit("double", {"x": [1.0]})
    with fleet.paused():
        slow = client.submit("double", {"x": [1.0]})
        ended = client.as_completed([slow, fast], wait=30)
        assert next(ended).id == fast.id
    assert next(ended).id == slow.id


def test_a_window_below_one_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="window is 0"):
        list(client.as_completed([], window=0))


def test_a_dropped_handle_leaves_nothing_behind(client: Client) -> None:
    class Tracked(Job):
        __slots__ = ("__weakref__",)

    job = Tracked(client._core, client.submit("double", {"x": [1.0]}).id, None)
    job.result(10)
    gone = weakref.ref(job)
    del job
    gc.collect()
    assert gone() is None


def test_many_threads_may_share_a_client(client: Client) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(20):
            value = float(number * 100 + step)
            if client.submit("double", {"x": [value]}).result(60)["doubled"][0] != 2 * value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
