"""Owns publishing jobs to Kafka with librdkafka: its settings, its callbacks, and what becomes of a record it gives up."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from penstock.transports import Headers, SinkFull, SinkRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Message

QUEUE_RECORDS = 100_000
QUEUE_KBYTES = 256 * 1024
_log = logging.getLogger("penstock.kafka")
_BATCH_BYTES = 1_000_000
_SERVE_SECONDS = 0.1
"""How often delivery reports are looked after when nothing happens; a report itself wakes the thread."""


def producer_settings(
    bootstrap_servers: str, properties: Mapping[str, str | int | float | bool], *, max_job_bytes: int, delivery_timeout: float
) -> dict[str, str | int | float | bool]:
    """librdkafka's settings for a publisher of jobs; ``properties`` win, but for those that the contract or our code fixes."""
    return {
        "client.id": "penstock",
        # A lone job leaves at once; under load records still meet in batches, in the queue behind the request in flight.
        "linger.ms": 0,
        "batch.size": min(_BATCH_BYTES, max_job_bytes),
        "queue.buffering.max.messages": QUEUE_RECORDS,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "message.timeout.ms": int(delivery_timeout * 1000),
        "message.max.bytes": max_job_bytes,
        **properties,
        "bootstrap.servers": bootstrap_servers,
        "enable.idempotence": True,  # a resent batch must not become two jobs
        "acks": "all",
        "compression.type": "none",  # the topic is uncompressed: workers are not to be handed decompression bombs
        "partitioner": "murmur2_random",  # as Java's, so that equal ids meet in one partition whoever sends them
        "delivery.report.only.error": True,
    }


class KafkaSink:
    """Jobs to Kafka. Raises ValueError for properties that librdkafka does not know."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        properties: Mapping[str, str | int | float | bool] | None = None,
        max_job_bytes: int = 4 * 1024 * 1024,
        delivery_timeout: float = 120.0,
    ) -> None:
        self._settings = producer_settings(
            bootstrap_servers, properties or {}, max_job_bytes=max_job_bytes, delivery_timeout=delivery_timeout
        )
        self._max_job_bytes = max_job_bytes
        self._on_refused: Callable[[str, str], None] = lambda _key, _reason: None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._producer = self._new_producer()
        self._server = threading.Thread(target=self._serve, name="penstock-deliveries", daemon=True)

    def start(self, on_refused: Callable[[str, str], None]) -> None:
        self._on_refused = on_refused
        self._server.start()

    def publish(self, topic: str, key: str, value: bytes, headers: Headers | None = None) -> None:
        producer = self._producer
        try:
            if headers:
                producer.produce(topic, value=value, key=key, headers=[*headers])
            else:
                producer.produce(topic, value=value, key=key)
        except BufferError as error:
            raise SinkFull from error
        except KafkaException as error:
            self._refuse(error.args[0], len(value), producer)
        except RuntimeError as error:  # closed by another thread just now
            raise SinkRefused("the client was closed") from error

    def flush(self, timeout: float) -> int:
        return self._producer.flush(timeout)

    def close(self, timeout: float) -> None:
        if self._closing.is_set():
            return
        left = self._producer.flush(timeout)
        if left:
            self._producer.purge()  # each record that is left is reported as refused …
            self._producer.flush(1.0)  # … here
        self._closing.set()
        if self._server.ident is not None:
            self._server.join()
        self._producer.close()

    def _new_producer(self) -> Producer:
        try:
            return Producer({**self._settings, "on_delivery": self._delivered, "logger": _log})
        except KafkaException as error:
            message = error.args[0].str()
            raise ValueError(f"librdkafka does not take these properties: {message}") from error

    def _serve(self) -> None:
        """Serve delivery reports, so that a waiting caller learns of a refused job at once."""
        while not self._closing.is_set():
            self._producer.poll(_SERVE_SECONDS)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's callback. Must not raise: an exception here would surface in whatever call serves the queue."""
        if error is not None:
            key = message.key()
            self._on_refused(key.decode() if isinstance(key, bytes) else str(key), error.str())

    def _refuse(self, error: KafkaError, size: int, broken: Producer) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise SinkRefused(f"the job is {size} bytes, more than max_job_bytes ({self._max_job_bytes}) allows")
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - a code of librdkafka's own
            self._replace(broken)
        raise SinkRefused(error.str())

    def _replace(self, broken: Producer) -> None:
        """After a fatal error a producer takes nothing more: tell of what it still holds, and go on with a new one."""
        with self._lock:
            if self._producer is not broken:
                return
            self._producer = self._new_producer()
        broken.purge()
        broken.flush(1.0)
        broken.close()
