"""Partitions that come back: fetched again, whatever they were when they went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from penstock_schemas.settings import Settings
from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.consumer import Intake


class Nobody:
    def assigned(self, partitions: Any) -> None: ...
    def revoking(self, partitions: list[Any]) -> None: ...
    def lost(self, partitions: list[Any]) -> None: ...


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings for the Kafka client's own in-process broker, which holds five jobs in one partition."""
    producer = Producer({"bootstrap.servers": "in-process", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    for _ in range(5):
        producer.produce("f.jobs", b"{}", partition=0)
    assert producer.flush(10) == 0
    yield Settings.model_validate({"fleet": "f", "kafka": {"bootstrap_servers": f"{broker.host}:{broker.port}"}})
    del producer


def fetched(intake: Intake, wanted: int) -> bool:
    """Whether so many records come, in ten seconds at the most."""
    got = 0
    for _ in range(100):
        got += len(intake.poll(0.1, wanted).jobs)
        if got == wanted:
            break
    return got == wanted


def test_a_partition_that_left_while_paused_and_comes_back_is_fetched(settings: Settings) -> None:
    intake = Intake(settings, Nobody(), BrokerClock(), "w")
    member = intake._jobs["f.jobs"]
    consumer: Consumer = member.consumer
    member._on_assign(consumer, [TopicPartition("f.jobs", 0, 0)])
    assert fetched(intake, 5)
    intake.pause()
    member._on_revoke(consumer, [TopicPartition("f.jobs", 0)])
    assert not consumer.assignment()
    intake.poll(0.1, 5)
    intake.resume()
    member._on_assign(consumer, [TopicPartition("f.jobs", 0, 0)])
    assert fetched(intake, 5)
    consumer.close()
