"""What submit sends, what it refuses, and what flush and close say of jobs that Kafka did not take."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from penstock import (
    Client,
    DeliveryFailed,
    FlushTimeout,
    InvalidJob,
    QueueFull,
)
from penstock.testing import FakeFleet
from penstock.transports.memory import MemorySink

if TYPE_CHECKING:
    from penstock.transports.memory import Record


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


def test_a_client_id_that_no_channel_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="client_id 'a b'"):
        Client.over(MemorySink(lambda _record: None), None, client_id="a b")
