"""Owns a publisher on a producer whose broker is the test."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.unit.worker.making import a_delivery

from penstock_schemas.settings import Settings
from penstock_worker.engine.wire import Answer, Failure
from penstock_worker.intake.delivery import Delivery
from penstock_worker.intake.ledger import Entry
from penstock_worker.settle import outbox as module
from penstock_worker.settle.breaker import Breaker
from penstock_worker.settle.outbox import Outbox
from penstock_worker.settle.publisher import Publisher


@dataclass
class Record:
    """One record handed to the producer, and its message in the delivery callback."""

    topic_: str
    value_: bytes | None
    key_: bytes | None
    callback: Callable[[KafkaError | None, Any], None]
    headers_: Any = None
    producer: FakeProducer | None = None
    offset_: int | None = 7

    def topic(self) -> str:
        return self.topic_

    def value(self) -> bytes | None:
        return self.value_

    def key(self) -> bytes | None:
        return self.key_

    def timestamp(self) -> tuple[int, int]:
        return 2, 1234

    def offset(self) -> int | None:
        return self.offset_

    def headers(self) -> Any:
        return self.headers_

    def __len__(self) -> int:
        return len(self.value_ or b"")

    def confirm(self) -> None:
        self._leave()
        self.callback(None, self)

    def lose(self) -> None:
        """It is called delivered, and is nowhere."""
        self.offset_ = None
        self.confirm()

    def refuse(self, code: int, *, fatal: bool = False) -> None:
        self._leave()
        self.callback(KafkaError(code, "refused", fatal), self)

    def _leave(self) -> None:
        if self.producer is not None:
            self.producer.waiting -= 1


@dataclass
class FakeProducer:
    """Takes records; what comes of each is for the test to say, from :meth:`poll` as in librdkafka."""

    properties: dict[str, Any]
    records: list[Record] = field(default_factory=list[Record])
    waiting: int = 0
    """So many records are with librdkafka, their callbacks not yet served."""
    full: int = 0
    """So many calls find the local queue full."""
    refusing: deque[int] = field(default_factory=deque[int])
    """Error codes with which the next calls are refused at once."""
    happening: deque[Callable[[], None]] = field(default_factory=deque[Callable[[], None]])

    def produce(
        self, topic: str, value: bytes, key: bytes, partition: int = -1, on_delivery: Any = None, headers: Any = None
    ) -> None:
        if self.full:
            self.full -= 1
            raise BufferError("queue full")
        if self.refusing:
            raise KafkaException(KafkaError(self.refusing.popleft()))
        self.records.append(Record(topic, value, key, on_delivery, headers, self))
        self.waiting += 1

    def poll(self, timeout: float = 0) -> int:
        count = len(self.happening)
        while self.happening:
            self.happening.popleft()()
        return count

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return self.waiting

    def __len__(self) -> int:
        return self.waiting


@dataclass
class Bench:
    """A publisher on a fake producer, with a clock that the test moves."""

    publisher: Publisher
    outbox: Outbox
    breaker: Breaker
    producer: FakeProducer
    now: list[float]

    def then(self, *happening: Callable[[], None]) -> None:
        """Let things happen in the next poll."""
        self.producer.happening.extend(happening)
        self.outbox.poll()

    def taken(self) -> list[tuple[str, bytes | None]]:
        """Topic and key of what was handed to the producer since last asked."""
        taken = [(record.topic_.partition(".")[2], record.key_) for record in self.producer.records]
        self.last, self.producer.records = self.producer.records, []
        return taken

    last: list[Record] = field(default_factory=list[Record])


def a_bench(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made: list[FakeProducer] = []

    def producer(properties: dict[str, Any]) -> FakeProducer:
        made.append(FakeProducer(properties))
        return made[0]

    monkeypatch.setattr(module, "Producer", producer)
    now = [100.0]
    outbox = Outbox(settings, lambda: now[0])
    breaker = Breaker(settings.retry.breaker_failures, settings.retry.breaker_seconds)
    publisher = Publisher(settings, "worker-1", outbox, breaker, lambda: now[0] * 1000)
    return Bench(publisher, outbox, breaker, made[0], now)


def taken_in(values: list[bytes | None], **columns: Any) -> Delivery:
    delivery = a_delivery(values, **columns)
    delivery.entries = [Entry(("f.jobs", 0), len(values), len(values))]
    return delivery


def an_answer(*indices: int, keys: list[bytes] | None = None, failures: dict[int, Failure] | None = None) -> Answer:
    values = [b"outcome %d" % index for index in indices]
    return Answer(1, np.array(indices, np.int32).tobytes(), keys, values, failures or {})


def publish(bench: Bench, delivery: Delivery, answer: Answer) -> Counter[tuple[str, str]]:
    fresh = delivery.answer(np.frombuffer(answer.indices, np.int32).astype(np.int64))
    return bench.publisher.publish(delivery, answer, fresh)
