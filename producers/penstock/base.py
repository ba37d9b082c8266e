"""Owns how a client is made: the arguments that Client and AsyncClient share, and the transports that they stand for."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Self

from penstock.core import Core

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.transports import JobSink, ResultStore

MIB = 1024 * 1024


class ClientBase:
    """What all clients have. See :class:`penstock.Client` for the arguments."""

    def __init__(
        self,
        bootstrap_servers: str,
        redis_url: str | None = None,
        *,
        fleet: str = "penstock",
        client_id: str | None = None,
        queue_timeout: float = 10.0,
        delivery_timeout: float = 120.0,
        redis_timeout: float = 5.0,
        max_job_bytes: int = 4 * MIB,
        kafka_properties: Mapping[str, str | int | float | bool] | None = None,
    ) -> None:
        # Here, so that `penstock.testing` needs neither library.
        from penstock.transports.kafka import KafkaSink
        from penstock.transports.redis import RedisStore

        store = RedisStore(redis_url, timeout=redis_timeout) if redis_url is not None else None
        sink = KafkaSink(
            bootstrap_servers, properties=kafka_properties, max_job_bytes=max_job_bytes, delivery_timeout=delivery_timeout
        )
        self._open(sink, store, fleet=fleet, client_id=client_id, queue_timeout=queue_timeout, flush_timeout=delivery_timeout)

    @classmethod
    def over(
        cls,
        sink: JobSink,
        store: ResultStore | None,
        *,
        fleet: str = "penstock",
        client_id: str | None = None,
        queue_timeout: float = 10.0,
        flush_timeout: float = 120.0,
    ) -> Self:
        """A client over other transports than Kafka and Redis: :mod:`penstock.transports` says what they must do."""
        client = cls.__new__(cls)
        client._open(  # noqa: SLF001 - our own
            sink, store, fleet=fleet, client_id=client_id, queue_timeout=queue_timeout, flush_timeout=flush_timeout
        )
        return client

    def _open(
        self,
        sink: JobSink,
        store: ResultStore | None,
        *,
        fleet: str,
        client_id: str | None,
        queue_timeout: float,
        flush_timeout: float,
    ) -> None:
        client_id = client_id or secrets.token_urlsafe(12)
        self._core = Core(sink, store, fleet=fleet, client_id=client_id, queue_timeout=queue_timeout)
        # librdkafka gives every job up by then, so a flush that waits this long always knows.
        self._flush_timeout = flush_timeout + 5.0

    @property
    def client_id(self) -> str:
        """What the fleet calls this client when it tells of results."""
        return self._core.client_id
