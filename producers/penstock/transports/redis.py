"""Owns reading results from Redis: batched MGET and one pub/sub subscription, with redis-py."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.transports import Hints, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


CONNECTIONS = 4
"""One subscription, the watcher's two readers, and one for polls: however many jobs are waited for."""


@contextlib.contextmanager
def _redis_errors() -> Generator[None, None, None]:
    """Tell apart what may pass from what will not."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.AuthorizationError) as error:
        raise StoreRefused(f"Redis refuses this client: {error}") from error
    except exceptions.ClusterCrossSlotError as error:
        raise StoreRefused("Redis is a Cluster; Penstock needs one primary (replicas and Sentinel are fine)") from error
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis cannot be reached: {error}") from error


class RedisHints:
    """One subscription; made by :meth:`RedisStore.subscribe`."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def next(self, timeout: float) -> bytes | None:
        try:
            with _redis_errors():
                message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=timeout)
        except (StoreUnavailable, StoreRefused):
            raise
        except Exception as error:  # close() elsewhere takes the socket from under redis-py, which fails in many ways
            raise StoreUnavailable(f"the subscription was lost: {error!r}") from error
        return None if message is None else cast("bytes", message["data"])

    def close(self) -> None:
        connection = self._pubsub.connection
        if connection is not None:
            with contextlib.suppress(Exception):  # whatever state it is in: shutting the socket down wakes a reader
                connection.disconnect()
        with contextlib.suppress(Exception):
            self._pubsub.close()


class RedisStore:
    """Results in one Redis primary. ``timeout`` bounds each call, in seconds. Connects when first used.

    Raises ValueError for a URL that is none.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self._timeout = timeout
        # Retries are the watcher's, within its callers' times: a call here is tried once.
        # redis-py's own types leave half of this open: the two seams here, _pool and _redis, are Any.
        self._pool: Any = cast("Any", redis.BlockingConnectionPool).from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=min(timeout, 2.0),
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._redis: Any = redis.Redis(connection_pool=self._pool)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        with _redis_errors():
            return cast("list[bytes | None]", self._redis.mget(keys))

    def subscribe(self, channel: str) -> Hints:
        pubsub = self._redis.pubsub()
        try:
            with _redis_errors():
                pubsub.subscribe(channel)
                answer = pubsub.get_message(timeout=self._timeout)  # once it is there, nothing published later is missed
            if answer is None:
                raise StoreUnavailable(f"Redis did not answer a SUBSCRIBE within {self._timeout:g} s")
        except BaseException:
            RedisHints(pubsub).close()
            raise
        return RedisHints(pubsub)

    def close(self) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            self._pool.disconnect()
