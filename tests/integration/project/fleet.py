"""Owns one fleet's outcomes topic and results on real services, and projectors that run on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import redis
from confluent_kafka import Producer
from tests.support import eventually

from penstock_schemas.settings import Settings
from penstock_worker.project import run_projector
from penstock_worker.project.position import Cause


class Figures:
    """What one projector counted."""

    def __init__(self) -> None:
        self.kafka_problem: str | None = None
        self.written = self.present = self.garbage = self.expired = 0
        self.behind = -1
        self.causes: list[Cause] = []
        self.available: list[bool] = []

    def projected(self, written: int, present: int) -> None:
        self.written += written
        self.present += present

    def skipped(self, garbage: int, expired: int) -> None:
        self.garbage += garbage
        self.expired += expired

    def started(self, cause: Cause) -> None:
        self.causes.append(cause)

    def store_available(self, available: bool) -> None:
        self.available.append(available)

    def lag(self, records: int) -> None:
        self.behind = records


@contextmanager
def projecting(settings: Settings, *, wait: bool = True) -> Generator[Figures]:
    """A projector in a thread, serving when the block begins unless told not to ``wait``."""
    stop, ready, figures = threading.Event(), threading.Event(), Figures()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            run_projector(settings, stop, ready=ready.set, metrics=figures)
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if wait:
            eventually(lambda: ready.is_set() or failed, "the projector serves")
        yield figures
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


class Fleet:
    """A fleet's outcomes topic, and a reader's view of its results."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self.settings = settings
        self.names = settings.names
        self.client: Any = stack.enter_context(redis.Redis.from_url(settings.redis.url))
        self._producer = Producer(
            {"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 5}
        )

    def publish(self, *ids: str, text: str = "first", generation: int = 0, reply_to: str = "me") -> None:
        for job_id in ids:
            head = f'{{"contract":"1","generation":{generation},"reply_to":"{reply_to}","id":"{job_id}",'
            self.put(job_id.encode(), f'{head}"status":"succeeded","text":"{text}"}}\n'.encode())
        assert self._producer.flush(30) == 0

    def put(self, key: bytes | None, value: bytes | None) -> None:
        self._producer.produce(self.names.outcomes, value, key)
        self._producer.poll(0)

    def put_at(self, seconds: float, job_id: str) -> None:
        value = f'{{"contract":"1","generation":0,"id":"{job_id}","text":"first"}}'
        self._producer.produce(self.names.outcomes, value.encode(), job_id.encode(), timestamp=int(seconds * 1000))
        assert self._producer.flush(30) == 0

    def text(self, job_id: str) -> str | None:
        value = self.client.get(self.names.result_key(job_id))
        return None if value is None else value.decode().split('"text":"')[1].split('"')[0]

    def texts(self) -> dict[str, str]:
        keys = list(self.client.scan_iter(self.names.result_key("*"), count=1000))
        values = self.client.mget(keys) if keys else []
        return {
            key.decode().rpartition(":")[2]: value.decode().split('"text":"')[1].split('"')[0]
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

    def all_there(self, ids: list[str]) -> Callable[[], bool]:
        return lambda: None not in self.client.mget([self.names.result_key(job_id) for job_id in ids])
