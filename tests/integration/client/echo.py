"""A fleet of one thread for the client's own tests: it doubles what it is sent, with real bytes through real services."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Self

import redis
from confluent_kafka import Consumer, Message, TopicPartition

from penstock.testing.worker import FakeWorker, Served
from penstock_schemas.limits import Limits

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings


class EchoFleet:
    """Reads the jobs topic and writes outcomes to Redis, hints included, as workers and projector do between them."""

    def __init__(self, settings: Settings, *, hints: bool = True) -> None:
        self._names = settings.names
        self._hints = hints
        self._worker = FakeWorker(Limits())
        self._worker.serve("double", "1", Served(lambda inputs: {"y": inputs["x"] * 2}, allow_non_finite=False))
        self._redis = redis.Redis.from_url(settings.redis.url)
        self._consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": uuid.uuid4().hex})
        self._consumer.assign([TopicPartition(self._names.jobs(), n, 0) for n in range(settings.topics.job_partitions)])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo-fleet", daemon=True)
        self.error: BaseException | None = None
        self._working = threading.Event()
        self._working.set()
        self._paused = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stop.set()
        self.go_on()
        self._thread.join()
        self._consumer.close()
        self._redis.close()
        assert self.error is None, repr(self.error)

    def pause(self) -> None:
        """Let jobs wait in Kafka from now on: none is being read any more when this returns."""
        self._working.clear()
        assert self._paused.wait(60)

    def go_on(self) -> None:
        self._paused.clear()
        self._working.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._working.is_set():
                    self._paused.set()
                    self._working.wait()
                messages = self._consumer.consume(512, 0.005)
                if messages:
                    self._answer(messages)
        except BaseException as error:  # noqa: BLE001 - told by __exit__, in the test's own thread
            self.error = error

    def _answer(self, messages: list[Message]) -> None:
        hints: dict[str, list[str]] = {}
        pipeline = self._redis.pipeline(transaction=False)
        for message in messages:
            topic, offset, value, key = message.topic(), message.offset(), message.value(), message.key()
            assert topic is not None
            assert offset is not None
            assert isinstance(value, bytes)
            assert isinstance(key, bytes)
            now_ms = time.time_ns() // 1_000_000
            answer = self._worker.answer(
                topic, key.decode(), value, (), offset=offset, appended_ms=message.timestamp()[1], now_ms=now_ms
            )
            pipeline.set(self._names.result_key(answer.job.id), answer.value, nx=True, ex=600)
            if answer.reply_to is not None:
                hints.setdefault(answer.reply_to, []).append(answer.job.id)
        pipeline.execute()
        if self._hints:
            for client_id, job_ids in hints.items():
                self._redis.publish(self._names.wake_channel(client_id), "\n".join(job_ids))
