"""Owns a reader's view of a result cache, in memory or on Redis, for the suites of the projector's store."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import redis

from penstock.local import LocalRedis
from penstock_schemas.names import Names
from penstock_schemas.settings import RedisSettings
from penstock_worker.project.plan import Change, Replacement
from penstock_worker.project.redis_store import RedisStore
from penstock_worker.project.store import MemoryStore, Store

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


@contextmanager
def redis_cache(server: LocalRedis, names: Names, timeout: float = 5.0) -> Generator[Cache]:
    store = RedisStore(RedisSettings(url=server.url, timeout=timeout), names)
    store.read([])  # as the projector does before its first change
    with redis.Redis.from_url(server.url) as client:
        yield Cache(store, names, client)
    store.drop()


def outcome(generation: int, text: str) -> bytes:
    return f'{{"contract":"1","generation":{generation},"id":"a","text":"{text}"}}'.encode()
