"""Many jobs at once: map, as_completed, and threads that share a client."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from penstock import (
    Client,
    DeliveryFailed,
    InvalidJob,
    Job,
    JobFailed,
    ResultTimeout,
)
from penstock.testing import FakeFleet

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    outcomes = client.map("double", np.ones((3, 2, 4), np.float32), input="x", outputs=["doubled"])
    assert [outcome["doubled"].shape for outcome in outcomes] == [(1, 2, 4)] * 3
    with pytest.raises(InvalidJob, match="map takes no id"):
        list(client.map("double", [{"x": [1.0]}], id="a"))  # type: ignore[call-arg]


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
