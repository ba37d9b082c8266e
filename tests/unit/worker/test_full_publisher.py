"""A broker that takes nothing: the publisher says that it is full, keeps what it has, and the loop goes on coming round."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError
from tests.unit.worker.bench import Bench, a_bench, an_answer, publish, taken_in

from penstock_schemas.settings import Settings
from penstock_worker.settle import outbox as module


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return a_bench(Settings(fleet="f"), monkeypatch)


def test_a_full_client_queue_holds_nobody_up_and_loses_nothing(bench: Bench) -> None:
    delivery = taken_in([b"a", b"b", b"c"])
    bench.producer.full = 1_000_000
    publish(bench, delivery, an_answer(0, 1, 2))
    assert (bench.outbox.full, bench.outbox.unconfirmed, bench.taken()) == (True, 3, [])
    bench.producer.full = 0
    bench.outbox.poll()
    assert not bench.outbox.full
    assert bench.taken() == [("outcomes", b"k0"), ("outcomes", b"k1"), ("outcomes", b"k2")]
    bench.then(*[record.confirm for record in bench.last])
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (0, 0)


def test_what_the_broker_keeps_refusing_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REFUSED", 3000)
    delivery = taken_in([b"a", b"b", b"c"])
    publish(bench, delivery, an_answer(0, 1, 2))
    bench.taken()

    def refuse(record: Any) -> Any:
        return lambda: record.refuse(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    bench.then(*[refuse(record) for record in bench.last[:2]])
    assert not bench.outbox.full
    bench.then(refuse(bench.last[2]))
    assert bench.outbox.full
    bench.now[0] += 5
    bench.outbox.poll()
    assert not bench.outbox.full, "they are on their way again"
    assert len(bench.taken()) == 3
