"""What the projector may rely on in a result cache: one suite, run against the one in memory and against Redis."""

from __future__ import annotations

import random
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import redis
from tests.support import RedisFactory, eventually

from penstock.local import LocalRedis
from penstock_schemas.names import Names
from penstock_schemas.settings import RedisSettings
from penstock_worker.project.plan import Change, Replacement
from penstock_worker.project.position import NOTHING
from penstock_worker.project.redis_store import RedisStore
from penstock_worker.project.store import MOVED, MemoryStore, Store, StoreUnavailable, StoreUnsuitable

HOUR_MS = 3_600_000


class Cache:
    """A store, and a reader's view of it."""

    def __init__(self, store: Store, names: Names, client: redis.Redis | None) -> None:
        self.store = store
        self.names = names
        self.client: Any = client

    def get(self, job_id: str) -> bytes | None:
        key = self.names.result_key(job_id)
        if self.client is not None:
            value: bytes | None = self.client.get(key)
            return value
        assert isinstance(self.store, MemoryStore)
        return self.store.get(key.encode())

    def position(self, partition: int = 0) -> bytes:
        return self.store.read([partition]).positions[0]

    def apply(self, *changes: Change) -> list[int]:
        self.store.send(changes, {})
        return self.store.receive()

    def change(
        self, expected: bytes, position: bytes, *results: tuple[str, bytes], expiry: int | None = None, partition: int = 0
    ) -> Change:
        at = b"%d" % (expiry if expiry is not None else self.now() + HOUR_MS)
        keys = [self.names.result_key(job_id).encode() for job_id, _ in results]
        return Change(
            partition, expected, position, keys, [value for _, value in results], [(len(results), at)] if results else []
        )

    def replace(self, expected: bytes, position: bytes, *results: tuple[str, bytes, int]) -> Change:
        at = b"%d" % (self.now() + HOUR_MS)
        replacements = [
            Replacement(self.names.result_key(job_id).encode(), value, at, number) for job_id, value, number in results
        ]
        return Change(0, expected, position, replacements=replacements)

    def now(self) -> int:
        return int(time.time() * 1000)


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[Cache]:
    names = Names(f"t-{uuid.uuid4().hex[:12]}")
    if request.param == "memory":
        yield Cache(MemoryStore(lambda: int(time.time() * 1000)), names, None)
        return
    with redis_cache(request.getfixturevalue("redis_server"), names) as made:
        yield made


@pytest.fixture
def on_redis(redis_server: LocalRedis) -> Iterator[Cache]:
    with redis_cache(redis_server, Names(f"t-{uuid.uuid4().hex[:12]}")) as made:
        yield made


@pytest.fixture
def cache_on() -> Iterator[Callable[..., Cache]]:
    """``cache_on(server, timeout=0.3)``: a cache on a server of the test's own."""
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(redis_cache(server, Names("f"), **options))


@contextmanager
def redis_cache(server: LocalRedis, names: Names, timeout: float = 5.0) -> Generator[Cache]:
    store = RedisStore(RedisSettings(url=server.url, timeout=timeout), names)
    store.read([])  # as the projector does before its first change
    with redis.Redis.from_url(server.url) as client:
        yield Cache(store, names, client)
    store.drop()


def outcome(generation: int, text: str) -> bytes:
    return f'{{"contract":"1","generation":{generation},"id":"a","text":"{text}"}}'.encode()


class TestBoth:
    def test_there_is_nothing_at_first(self, cache: Cache) -> None:
        cache.store.check()
        standing = cache.store.read([0, 3])
        assert list(standing.positions) == [NOTHING, NOTHING]
        assert abs(standing.now_ms - time.time() * 1000) < HOUR_MS

    def test_results_and_position_are_written_together(self, cache: Cache) -> None:
        assert cache.apply(cache.change(NOTHING, b"T 2", ("a", b"1"), ("b", b"2"))) == [2]
        assert (cache.get("a"), cache.get("b"), cache.position()) == (b"1", b"2", b"T 2")

    def test_a_change_may_be_empty(self, cache: Cache) -> None:
        assert cache.apply(cache.change(NOTHING, b"T 9")) == [0]
        assert cache.position() == b"T 9"

    def test_the_first_wins_within_and_across_changes(self, cache: Cache) -> None:
        assert cache.apply(cache.change(NOTHING, b"T 2", ("a", b"1"), ("a", b"2"))) == [1]
        assert cache.apply(cache.change(b"T 2", b"T 3", ("a", b"3"))) == [0]
        assert cache.get("a") == b"1"

    @pytest.mark.parametrize("expected", [NOTHING, b"T 1", b"U 2", b"T 20"])
    def test_from_any_other_position_nothing_is_changed(self, cache: Cache, expected: bytes) -> None:
        cache.apply(cache.change(NOTHING, b"T 2", ("a", b"1")))
        assert cache.apply(cache.change(expected, b"T 5", ("b", b"2"))) == [MOVED]
        assert (cache.get("b"), cache.position()) == (None, b"T 2")

    def test_partitions_do_not_touch_each_other(self, cache: Cache) -> None:
        changes = [cache.change(NOTHING, b"T 1", ("a", b"1")), cache.change(b"T 7", b"T 8", ("b", b"2"), partition=1)]
        assert cache.apply(*changes) == [1, MOVED]
        assert list(cache.store.read([1, 0]).positions) == [NOTHING, b"T 1"]

    def test_changes_may_be_sent_ahead_and_build_on_each_other(self, cache: Cache) -> None:
        cache.store.send([cache.change(NOTHING, b"T 1", ("a", b"1"))], {"client": [b"a"]})
        cache.store.send([cache.change(b"T 1", b"T 2", ("b", b"2"))], {})
        assert [cache.store.receive(), cache.store.receive()] == [[1], [1]]

    def test_what_has_had_its_time_is_not_there(self, cache: Cache) -> None:
        now = cache.now()
        assert len(cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"), expiry=now - 1))) == 1
        assert cache.get("a") is None
        assert cache.apply(cache.change(b"T 1", b"T 2", ("a", b"2"))) == [1]
        assert cache.get("a") == b"2"

    def test_results_go_when_their_time_comes_and_the_id_is_free(self, cache: Cache) -> None:
        cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"), expiry=cache.now() + 300))
        assert cache.get("a") == b"1"
        eventually(lambda: cache.get("a") is None, "the result expired")
        assert cache.apply(cache.change(b"T 1", b"T 2", ("a", b"2"))) == [1]

    @pytest.mark.parametrize(
        ("numbers", "stands"),
        [([1], 1), ([1, 2], 2), ([2, 1], 2), ([1, 1], 1), ([3, 2, 1, 3], 3), ([9, 10], 10), ([10, 9], 10)],
    )
    def test_a_newer_generation_replaces_an_older_one_and_never_the_reverse(
        self, cache: Cache, numbers: Sequence[int], stands: int
    ) -> None:
        cache.apply(cache.change(NOTHING, b"T 1", ("a", outcome(0, "first"))))
        seen: set[int] = set()
        for place, number in enumerate(numbers, 1):
            text = "first" if number not in seen else "second"
            seen.add(number)
            cache.apply(cache.replace(b"T %d" % place, b"T %d" % (place + 1), ("a", outcome(number, text), number)))
        assert cache.get("a") == outcome(stands, "first")
        cache.apply(cache.change(b"T %d" % (len(numbers) + 1), b"T 99", ("a", outcome(0, "late"))))
        assert cache.get("a") == outcome(stands, "first")

    def test_each_run_expires_at_its_own_time(self, cache: Cache) -> None:
        now = cache.now()
        keys = [cache.names.result_key(job_id).encode() for job_id in "abcd"]
        runs = [(1, b"%d" % (now + HOUR_MS)), (2, b"%d" % (now - 1)), (1, b"%d" % (now + HOUR_MS))]
        mended = Replacement(cache.names.result_key("e").encode(), outcome(1, "e"), b"%d" % (now + HOUR_MS), 1)
        cache.apply(Change(0, NOTHING, b"T 5", keys, [b"1", b"2", b"3", b"4"], runs, [mended]))
        assert [cache.get(job_id) for job_id in "abcde"] == [b"1", None, None, b"4", outcome(1, "e")]

    def test_a_generation_above_0_needs_none_below_it(self, cache: Cache) -> None:
        assert cache.apply(cache.replace(NOTHING, b"T 1", ("a", outcome(4, "x"), 4), ("b", outcome(1, "y"), 1))) == [2]
        assert (cache.get("a"), cache.get("b")) == (outcome(4, "x"), outcome(1, "y"))

    def test_many_at_once(self, cache: Cache) -> None:
        """More than Lua's stack would take as arguments of one function."""
        results = [(f"j{number}", b"%d" % number) for number in range(20_000)]
        assert cache.apply(cache.change(NOTHING, b"T 20000", *results)) == [20_000]
        assert cache.get("j19999") == b"19999"


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
        cache.client.config_set("maxmemory", "1mb")
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
    """A free port that leaves room for a cluster's bus, 10,000 above it."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randint(20_000, 30_000)))
            return int(probe.getsockname()[1])
