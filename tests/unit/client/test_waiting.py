"""The watcher wakes each waiter once, with hints, without them, and across a store that goes away."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support import eventually

from penstock.errors import ClientClosed, DeliveryFailed, ResultsUnavailable
from penstock.transports import StoreRefused
from penstock.transports.memory import MemoryStore
from penstock.waiting import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.transports import Hints
    from penstock.waiting import Found, Notify

    Box = queue.SimpleQueue[tuple[str, Found]]


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.subscriptions = 0

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked.append(list(keys))
        return super().get_many(keys)

    def subscribe(self, channel: str) -> Hints:
        self.subscriptions += 1
        return super().subscribe(channel)

    def put(self, job_id: str, value: bytes, *, hint: bool = True) -> None:
        self.set_first("f:result:" + job_id, value)
        if hint:
            self.publish("f:wake:me", job_id.encode())


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def watcher(store: CountingStore) -> Iterator[Watcher]:
    watcher = Watcher(store, key_prefix="f:result:", channel="f:wake:me")
    yield watcher
    watcher.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name in {"penstock-hints", "penstock-net"}]


def box_for(box: Box) -> Notify:
    def notify(job_id: str, found: Found) -> None:
        box.put((job_id, found))

    return notify


def subscribed(watcher: Watcher, box: Box) -> int:
    """Start the watcher and wait for its subscription."""
    notify = box_for(box)
    watcher.watch("nobody", notify, era=None)
    eventually(lambda: watcher.era, "the watcher is subscribed")
    watcher.forget("nobody", notify)
    return watcher.era


def test_a_result_that_is_there_already_is_found(store: CountingStore, watcher: Watcher) -> None:
    store.put("a", b"1", hint=False)
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=None)
    assert box.get(timeout=10) == ("a", b"1")


def test_a_hint_wakes_a_waiter(store: CountingStore, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.waiting._FIRST_LOOK_HINTED", 3600.0)  # the net would not get there
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    watcher.watch("a", box_for(box), era=era)
    store.put("a", b"1")
    assert box.get(timeout=10) == ("a", b"1")


def test_the_net_finds_what_no_hint_told_of(store: CountingStore, watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    watcher.watch("a", box_for(box), era=era)
    watcher.watch("b", box_for(box), era=None)
    store.put("a", b"1", hint=False)
    store.put("b", b"2", hint=False)
    assert {box.get(timeout=10), box.get(timeout=10)} == {("a", b"1"), ("b", b"2")}


def test_a_job_hinted_before_it_is_waited_for_is_looked_for_at_once(
    store: CountingStore, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.waiting._FIRST_LOOK_HINTED", 3600.0)
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    store.put("a", b"1")
    eventually(lambda: "a" in watcher._hinted._ids, "the hint was heard")
    watcher.watch("a", box_for(box), era=era)
    assert box.get(timeout=10) == ("a", b"1")


def test_a_job_of_our_own_that_cannot_be_there_is_not_looked_for(
    store: CountingStore, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.waiting._FIRST_LOOK_HINTED", 3600.0)
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    store.asked.clear()
    watcher.watch("own", box_for(box), era=era)
    watcher.watch("other", box_for(box), era=None)
    store.put("other", b"1", hint=False)
    assert box.get(timeout=10) == ("other", b"1")
    assert "f:result:own" not in [key for keys in store.asked for key in keys]


def test_a_store_that_comes_back_is_asked_again(store: CountingStore, watcher: Watcher) -> None:
    store.available = False
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=None)
    eventually(lambda: watcher.trouble.now, "the watcher met the trouble")
    assert "switched off" in str(watcher.trouble.now)
    store.put("a", b"1", hint=False)
    store.available = True
    assert box.get(timeout=10) == ("a", b"1")
    assert watcher.trouble.now is None


def test_a_lost_subscription_is_renewed_and_begins_another_era(store: CountingStore, watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    watcher.watch("a", box_for(box), era=era)
    store.drop_subscriptions()
    eventually(lambda: watcher.era > era, "the watcher is subscribed again")
    store.put("a", b"1")
    assert box.get(timeout=10) == ("a", b"1")
    assert store.subscriptions == 2


def test_without_pub_sub_the_net_alone_answers(store: CountingStore, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_channel: str) -> None:
        raise StoreRefused("no permission to SUBSCRIBE")

    monkeypatch.setattr(store, "subscribe", refuse)
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=0)
    store.put("a", b"1")
    assert box.get(timeout=10) == ("a", b"1")


def test_a_store_that_refuses_ends_the_wait(store: CountingStore, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_keys: Sequence[str]) -> None:
        raise StoreRefused("wrong password")

    monkeypatch.setattr(store, "get_many", refuse)
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=None)
    _, found = box.get(timeout=10)
    assert isinstance(found, ResultsUnavailable)
    assert "wrong password" in str(found)


def test_an_error_that_nobody_foresaw_does_not_end_the_net(
    store: CountingStore, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = store.get_many, [True]

    def get_many(keys: Sequence[str]) -> list[bytes | None]:
        if broken.pop() if broken else False:
            raise ZeroDivisionError
        return real(keys)

    monkeypatch.setattr(store, "get_many", get_many)
    store.put("a", b"1", hint=False)
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=None)
    assert box.get(timeout=10) == ("a", b"1")


def test_all_who_wait_for_one_job_are_told(store: CountingStore, watcher: Watcher) -> None:
    boxes: list[Box] = [queue.SimpleQueue() for _ in range(3)]
    notifies = [box_for(box) for box in boxes]
    for notify in notifies:
        watcher.watch("a", notify, era=None)
    watcher.forget("a", notifies[0])
    store.put("a", b"1")
    assert [box.get(timeout=10) for box in boxes[1:]] == [("a", b"1")] * 2
    assert boxes[0].empty()


def test_nothing_is_kept_of_those_who_gave_up(watcher: Watcher) -> None:
    notify = box_for(queue.SimpleQueue())
    for number in range(100):
        watcher.watch(str(number), notify, era=None)
        watcher.forget(str(number), notify)
    assert not watcher._waiting
    eventually(lambda: not watcher._due, "their turns have passed")


def test_a_refusal_ends_the_wait(watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=None)
    error = DeliveryFailed({"a": "timed out"})
    watcher.fail("a", error)
    assert box.get(timeout=10) == ("a", error)


def test_closing_ends_all_waits(watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    watcher.watch("a", box_for(box), era=None)
    watcher.close()
    assert isinstance(box.get(timeout=10)[1], ClientClosed)
    with pytest.raises(ClientClosed):
        watcher.watch("b", box_for(box), era=None)


def test_thousands_of_waiters_share_few_calls(store: CountingStore, watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    notify = box_for(box)
    era = subscribed(watcher, box)
    store.asked.clear()
    ids = [f"job-{number}" for number in range(5000)]
    for job_id in ids:
        watcher.watch(job_id, notify, era=era)
    for job_id in ids:
        store.set_first("f:result:" + job_id, b"1")
    store.publish("f:wake:me", "\n".join(ids).encode())
    assert {box.get(timeout=10)[0] for _ in ids} == set(ids)
    assert len(store.asked) < 1000
    assert store.subscriptions == 1


def test_a_hint_of_absurd_size_is_only_a_reason_to_look(store: CountingStore, watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    watcher.watch("a", box_for(box), era=era)
    store.put("a", b"1", hint=False)
    store.publish("f:wake:me", b"x" * (2 * 1024 * 1024))
    assert box.get(timeout=10) == ("a", b"1")
    assert not watcher._hinted._ids


def test_results_asked_for_one_after_the_other_are_read_ahead(store: CountingStore, watcher: Watcher) -> None:
    box: Box = queue.SimpleQueue()
    era = subscribed(watcher, box)
    ids = [f"job-{number}" for number in range(500)]
    for job_id in ids:
        store.set_first("f:result:" + job_id, job_id.encode())
    store.publish("f:wake:me", "\n".join(ids).encode())
    eventually(lambda: len(watcher._hinted._ids) == len(ids), "the hints were heard")
    store.asked.clear()
    for job_id in ids:
        watcher.watch(job_id, box_for(box), era=era)
        assert box.get(timeout=10) == (job_id, job_id.encode())
    assert len(store.asked) < 100
    assert not watcher._hinted._ahead
    assert watcher._hinted._ahead_bytes == 0
