"""What the projector relies on in Redis besides: its expiry, its hints, and how it says that it is in trouble."""

from __future__ import annotations

import random
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tests.contract.project.cache import Cache, outcome, redis_cache
from tests.support import RedisFactory, eventually

from penstock.local import LocalRedis
from penstock_schemas.names import Names
from penstock_schemas.settings import RedisSettings
from penstock_worker.project.position import NOTHING
from penstock_worker.project.redis_store import RedisStore
from penstock_worker.project.store import MOVED, StoreUnavailable, StoreUnsuitable


@pytest.fixture
def on_redis(redis_server: LocalRedis) -> Iterator[Cache]:
    with redis_cache(redis_server, Names(f"t-{uuid.uuid4().hex[:12]}")) as made:
        yield made


@pytest.fixture
def cache_on() -> Iterator[Callable[..., Cache]]:
    """``cache_on(server, timeout=0.3)``: a cache on a server of the test's own."""
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(redis_cache(server, Names("f"), **options))


class TestRedis:
    def test_the_expiry_is_a_time_not_a_duration(self, on_redis: Cache) -> None:
        expiry = on_redis.now() + 12_345_678
        on_redis.apply(on_redis.change(NOTHING, b"T 1", ("a", b"1"), expiry=expiry))
        left = on_redis.client.pttl(on_redis.names.result_key("a"))
        assert abs(left - (expiry - on_redis.now())) < 5_000
        assert on_redis.client.pttl(on_redis.names.position_key(0)) == -1

    def test_clients_are_told_after_the_results_are_there(self, on_redis: Cache) -> None:
        with on_redis.client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(on_redis.names.wake_channel("one"))
            subscription.get_message(timeout=5)
            change = on_redis.change(NOTHING, b"T 2", ("a", b"1"), ("b", b"2"))
            on_redis.store.send([change], {"one": [b"a", b"b"], "two": [b"c"]})
            heard: list[Any] = []

            def told() -> bool:
                heard.append(subscription.get_message(timeout=0.1))
                return heard[-1] is not None

            eventually(told, "the hint came")
            assert on_redis.get("a") == b"1"
            assert heard[-1]["data"] == b"a\nb"
        assert on_redis.store.receive() == [2]
        assert on_redis.position() == b"T 2"

    def test_a_forgotten_script_applies_nothing_and_is_there_after_the_next_read(self, on_redis: Cache) -> None:
        on_redis.store.read([0])
        on_redis.client.script_flush()
        assert on_redis.apply(on_redis.change(NOTHING, b"T 1", ("a", b"1"))) == [MOVED]
        assert on_redis.position() == NOTHING
        assert on_redis.apply(on_redis.change(NOTHING, b"T 1", ("a", b"1"))) == [1]

    def test_keys_of_another_kind_are_in_nobodys_way(self, on_redis: Cache) -> None:
        on_redis.client.lpush(on_redis.names.position_key(0), "junk")
        on_redis.client.lpush(on_redis.names.result_key("a"), "junk")
        assert on_redis.position() == NOTHING
        assert on_redis.apply(on_redis.replace(NOTHING, b"T 1", ("a", outcome(1, "x"), 1))) == [1]
        assert (on_redis.get("a"), on_redis.position()) == (outcome(1, "x"), b"T 1")

    def test_reading_leaves_no_key_behind(self, on_redis: Cache) -> None:
        on_redis.store.read([0, 1])
        assert list(on_redis.client.scan_iter(f"{on_redis.names.fleet}:*")) == []


class TestTrouble:
    """What a server of its own is needed for."""

    def test_a_full_one_takes_all_of_a_change_or_nothing(self, own_redis: RedisFactory, cache_on: Callable[..., Cache]) -> None:
        server = own_redis()
        cache = cache_on(server)
        assert cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"))) == [1]
        cache.client.config_set("maxmemory", "1")  # less than any Redis takes for itself
        for ask in (lambda: cache.apply(cache.change(b"T 1", b"T 2", ("b", b"x" * 1000))), lambda: cache.store.read([0])):
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            assert caught.value.kind == "out of memory"
        cache.client.config_set("maxmemory", "0")
        assert (cache.get("b"), cache.position()) == (None, b"T 1")
        assert cache.apply(cache.change(b"T 1", b"T 2", ("b", b"2"))) == [1]

    def test_a_replica(self, own_redis: RedisFactory, cache_on: Callable[..., Cache]) -> None:
        primary, replica = own_redis(), own_redis()
        cache = cache_on(replica)
        cache.client.replicaof("127.0.0.1", primary.port)
        for ask in (lambda: cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"))), lambda: cache.store.read([0])):
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            assert caught.value.kind in ("read-only", "loading")

    def test_a_dead_one_and_its_return(self, own_redis: RedisFactory, cache_on: Callable[..., Cache]) -> None:
        server = own_redis()
        cache = cache_on(server)
        cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1")))
        server.kill()
        with pytest.raises(StoreUnavailable) as caught:
            cache.apply(cache.change(b"T 1", b"T 2", ("b", b"1")))
        with pytest.raises(StoreUnavailable) as caught:
            cache.store.read([0])
        assert caught.value.kind == "unreachable"
        server.start()
        assert cache.position() == NOTHING
        assert cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"))) == [1]

    def test_a_hung_one(self, own_redis: RedisFactory, cache_on: Callable[..., Cache]) -> None:
        server = own_redis()
        cache = cache_on(server, timeout=0.3)
        cache.store.read([0])
        cache.client.client_pause(1500)
        with pytest.raises(StoreUnavailable) as caught:
            cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1")))
        assert caught.value.kind == "silent"
        assert "0.3 s" in str(caught.value)

        def answers() -> bool:
            try:
                cache.store.read([0])
            except StoreUnavailable:
                return False
            return True

        eventually(answers, "Redis answered again")

    def test_one_that_evicts_is_refused(self, own_redis: RedisFactory, cache_on: Callable[..., Cache]) -> None:
        cache = cache_on(own_redis(args=["--maxmemory-policy", "allkeys-lru"]))
        with pytest.raises(StoreUnsuitable, match=r"allkeys-lru.*set maxmemory-policy noeviction"):
            cache.store.check()

    def test_a_cluster_is_refused(self, own_redis: RedisFactory) -> None:
        store = RedisStore(
            RedisSettings(url=own_redis(port=_low_port(), args=["--cluster-enabled", "yes"]).url, timeout=5), Names("f")
        )
        with pytest.raises(StoreUnsuitable, match="Cluster"):
            store.check()
        store.drop()


def _low_port() -> int:
    """A free port whose cluster bus, 10,000 above it, is free as well: both lie below the ports that the system gives out."""
    while True:
        port = random.randint(10_000, 20_000)
        with socket.socket() as server, socket.socket() as bus, suppress(OSError):
            server.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port
