"""A small batch that unpacks to very much is refused to its producer, in every codec, and the jobs around it flow."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from tests.faults.harness import Fleet
from tests.faults.jobs import make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SOAK, conclude, in_turn, options
from tests.faults.subjects import CODECS, bomb_name

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

LARGE: Final = 30_000_000
REFUSED: Final = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError._BAD_COMPRESSION}
WEDGE: Final = 90_000_000
"""Zeros that zstd packs into 2.8 KB, and that Kafka's client does not unpack again."""
MEMBERS: Final = ("worker-1", "projector-1")


def throw(bootstrap: str, topic: str, codec: str, values: list[bytes]) -> list[KafkaError | None]:
    """Publish ``values`` in one batch, packed with ``codec``; what the broker said of each."""
    answers: list[KafkaError | None] = []
    producer: Any = Producer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "compression.codec": codec,
            "message.max.bytes": 1_000_000_000,
            "batch.size": 1_000_000_000 // 2,
            "linger.ms": 500,  # so that all of it is one batch
            "message.timeout.ms": 20_000,
        }
    )
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _message: answers.append(error))
    assert producer.flush(60) == 0
    return answers


@pytest.mark.soak
@in_turn("bombs")
@pytest.mark.timeout(900 if SOAK else 240)
def test_bombs_are_refused_at_the_door_and_jobs_around_them_flow(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    usual = options(tmp_path)
    # One partition, so that a bomb that got in would stand before the jobs that follow it.
    chosen = settings(**usual | {"topics": {"job_partitions": 1, "outcome_partitions": 1, "max_job_bytes": 1_000_000}})
    make_topics(chosen)
    jobs = make_jobs(SEED, 100_000)
    topics = (chosen.names.jobs(), chosen.names.dead, *map(chosen.names.retry, chosen.retry.tiers))
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS)
        for thrown in range(ROUNDS):
            for n, codec in enumerate(CODECS):
                life.speak({"compression.codec": codec})
                life.submit(islice(jobs, 100))  # packed as the bombs are, and good
                for topic in (topics[0], topics[(thrown + n) % len(topics)]):
                    answers = throw(chosen.kafka.bootstrap_servers, topic, codec, [bytes(LARGE)])
                    answers += throw(chosen.kafka.bootstrap_servers, topic, codec, [bytes(900_000)] * 20)
                    codes = {error.code() if error is not None else None for error in answers}
                    assert codes <= REFUSED, f"{codec} to {topic}: {codes}"
                life.submit(islice(jobs, 10))
                life.recoveries.add(bomb_name(codec), life.accepted)
        life.flush()
        verdict = conclude(fleet, life)
    assert verdict.repeated == 0


@pytest.mark.timeout(60)
def test_nobody_reads_on_behind_a_bomb_that_a_topic_with_usual_settings_lets_in(
    settings: SettingsFactory, make_topics: MakeTopics
) -> None:
    """What ``compression.type=uncompressed`` is for: without it the broker looks at the packed size alone."""
    chosen = settings(topics={"job_partitions": 1})
    make_topics(chosen)
    outcomes, bootstrap = chosen.names.outcomes, chosen.kafka.bootstrap_servers  # written by workers only, so it is as it comes
    for codec, value in (("none", b"before it"), ("zstd", bytes(WEDGE)), ("none", b"behind it")):
        assert throw(bootstrap, outcomes, codec, [value]) == [None]
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bare", "log_level": 0})
    with closing(consumer):
        consumer.assign([TopicPartition(outcomes, 0, 0)])
        read = [message.value() for message in consumer.consume(100, 10.0) if message.error() is None]
    assert read == [b"before it"]
