"""One suite for everything that outcomes can be read from: the in-memory store, and Redis."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest
import redis

from penstock.transports import ResultStore, StoreRefused, StoreUnavailable
from penstock.transports.memory import MemoryStore
from penstock.transports.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import RedisFactory

    from penstock.local import LocalRedis


class Service(Protocol):
    """What is behind a store."""

    @property
    def store(self) -> ResultStore: ...

    def put(self, key: str, value: bytes) -> None: ...

    def publish(self, channel: str, message: bytes) -> None: ...

    def drop_subscriptions(self) -> None: ...


class MemoryService:
    def __init__(self) -> None:
        self.store = self._memory = MemoryStore()

    def put(self, key: str, value: bytes) -> None:
        self._memory.set_first(key, value)

    def publish(self, channel: str, message: bytes) -> None:
        self._memory.publish(channel, message)

    def drop_subscriptions(self) -> None:
        self._memory.drop_subscriptions()


class RedisService:
    def __init__(self, url: str) -> None:
        self.store = RedisStore(url)
        self._redis = redis.Redis.from_url(url)

    def put(self, key: str, value: bytes) -> None:
        self._redis.set(key, value)

    def publish(self, channel: str, message: bytes) -> None:
        self._redis.publish(channel, message)

    def drop_subscriptions(self) -> None:
        self._redis.client_kill_filter(_type="pubsub")

    def close(self) -> None:
        self._redis.close()


@pytest.fixture(params=["memory", "redis"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "memory":
        yield MemoryService()
        return
    server: LocalRedis = request.getfixturevalue("redis_server")
    made = RedisService(server.url)
    yield made
    made.store.close()
    made.close()


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def test_values_come_in_the_order_asked_for_and_none_for_what_is_not_there(service: Service, name: str) -> None:
    service.put(name + "a", b"1\n\x00\xff")
    service.put(name + "b", b"")
    assert service.store.get_many([name + "b", name + "missing", name + "a", name + "b"]) == [b"", None, b"1\n\x00\xff", b""]


def test_what_is_published_after_subscribing_arrives_in_order(service: Service, name: str) -> None:
    hints = service.store.subscribe(name)
    service.publish(name, b"a\nb")
    service.publish("other-" + name, b"not ours")
    service.publish(name, b"c")
    assert [hints.next(30), hints.next(30)] == [b"a\nb", b"c"]
    assert hints.next(0.01) is None
    hints.close()


def test_a_lost_subscription_says_so(service: Service, name: str) -> None:
    hints = service.store.subscribe(name)
    service.drop_subscriptions()

    def read_on() -> None:
        while True:
            hints.next(30)

    with pytest.raises(StoreUnavailable):
        read_on()
    hints.close()
    again = service.store.subscribe(name)
    service.publish(name, b"a")
    assert again.next(30) == b"a"
    again.close()


def test_closing_a_subscription_wakes_who_reads_it(service: Service, name: str) -> None:
    hints = service.store.subscribe(name)
    ended = threading.Event()
    reading = threading.Event()

    def read() -> None:
        reading.set()
        try:
            hints.next(600)
        except StoreUnavailable:
            pass
        ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reading.wait(30)
    hints.close()
    assert ended.wait(30)
    reader.join()
    hints.close()


def test_threads_may_share_a_store(service: Service, name: str) -> None:
    service.put(name, b"1")
    wrong: list[object] = []

    def read() -> None:
        for _ in range(50):
            if service.store.get_many([name]) != [b"1"]:
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_redis_that_is_not_there_is_unavailable() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.get_many(["a"])
    with pytest.raises(StoreUnavailable):
        store.subscribe("c")
    store.close()


def test_a_redis_that_wants_a_password_refuses(own_redis: RedisFactory) -> None:
    server = own_redis()
    with redis.Redis.from_url(server.url) as administrator:
        administrator.config_set("requirepass", "secret")
    store = RedisStore(server.url)
    with pytest.raises(StoreRefused, match="refuses this client"):
        store.get_many(["a"])
    store.close()


def test_reads_go_on_after_a_restart(own_redis: RedisFactory) -> None:
    server = own_redis()
    store = RedisStore(server.url)
    assert store.get_many(["a"]) == [None]
    server.stop()
    with pytest.raises(StoreUnavailable):
        store.get_many(["a"])
    server.start()
    assert store.get_many(["a"]) == [None]
    store.close()


def test_an_address_that_is_none_is_refused_when_the_store_is_made() -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisStore("localhost:6379")
