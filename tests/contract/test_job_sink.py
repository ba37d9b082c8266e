"""One suite for everything that jobs can be published to: the in-memory sink, and Kafka."""

from __future__ import annotations

import queue
import threading
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.transports import Headers, JobSink, SinkFull, SinkRefused
from penstock.transports.kafka import KafkaSink
from penstock.transports.memory import MemorySink, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import MakeTopics, SettingsFactory

    OpenSink = Callable[..., tuple[JobSink, queue.SimpleQueue[tuple[str, str]]]]

REFUSED = b"r" * 2_000_000
"""A value that the service behind the sink does not take."""
LOCAL_LIMIT = 4_000_000
TOPIC_LIMIT = 1_100_000  # above a whole batch: a broker that refuses a batch refuses all that is in it


class Service(Protocol):
    """What is behind a sink."""

    topic: str

    def sink(self, *, reachable: bool = True, capacity: int = 100_000) -> JobSink: ...

    def received(self, count: int) -> list[tuple[str, bytes, Headers | None]]:
        """What arrived, once it is ``count`` records."""
        ...


class MemoryService:
    topic = "t"

    def __init__(self) -> None:
        self._records: queue.SimpleQueue[Record] = queue.SimpleQueue()

    def sink(self, *, reachable: bool = True, capacity: int = 100_000) -> JobSink:
        sink = MemorySink(self._deliver, capacity=capacity)
        if not reachable:
            sink.pause()
        return sink

    def received(self, count: int) -> list[tuple[str, bytes, Headers | None]]:
        return [self._records.get(timeout=30)[1:] for _ in range(count)]

    def _deliver(self, record: Record) -> str | None:
        if record[2] == REFUSED:
            return "too large"
        self._records.put(record)
        return None


class KafkaService:
    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._partitions = partitions

    def sink(self, *, reachable: bool = True, capacity: int = 100_000) -> JobSink:
        return KafkaSink(
            self._bootstrap if reachable else "127.0.0.1:1",
            max_job_bytes=LOCAL_LIMIT,
            properties={"queue.buffering.max.messages": capacity},
        )

    def received(self, count: int) -> list[tuple[str, bytes, Headers | None]]:
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": uuid.uuid4().hex})
        try:
            consumer.assign([TopicPartition(self.topic, number, 0) for number in range(self._partitions)])
            found: list[tuple[str, bytes, Headers | None]] = []
            while len(found) < count:
                message = consumer.poll(30)
                assert message is not None, f"{len(found)} of {count} records"
                key, value, headers = message.key(), message.value(), message.headers()
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                found.append((key.decode(), value, headers))  # type: ignore[arg-type]
            return found
        finally:
            consumer.close()


@pytest.fixture(params=["memory", "kafka"])
def service(request: pytest.FixtureRequest) -> Service:
    if request.param == "memory":
        return MemoryService()
    settings: SettingsFactory = request.getfixturevalue("settings")
    make_topics: MakeTopics = request.getfixturevalue("make_topics")
    made = settings(topics={"max_job_bytes": TOPIC_LIMIT, "job_partitions": 2})
    make_topics(made)
    return KafkaService(made.kafka.bootstrap_servers, made.names.jobs(), 2)


@pytest.fixture
def open_sink(service: Service) -> Iterator[Any]:
    """``open_sink(reachable=…, capacity=…)``: a started sink, and what it tells of refused jobs."""
    sinks: list[JobSink] = []

    def make(**options: Any) -> tuple[JobSink, queue.SimpleQueue[tuple[str, str]]]:
        sink = service.sink(**options)
        sinks.append(sink)
        refused: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        sink.start(lambda key, reason: refused.put((key, reason)))
        return sink, refused

    before = threading.active_count()
    yield make
    for sink in sinks:
        sink.close(0)
    assert threading.active_count() <= before


def test_what_is_published_arrives_as_it_is(service: Service, open_sink: OpenSink) -> None:
    sink, refused = open_sink()
    sink.publish(service.topic, "a", b'{"a":1}\n\x00\xff')
    sink.publish(service.topic, "b", b"", [("traceparent", b"00-1"), ("ce_id", b"b"), ("ce_id", b"again")])
    assert sink.flush(60) == 0
    received = {key: (value, headers) for key, value, headers in service.received(2)}
    assert received["a"] == (b'{"a":1}\n\x00\xff', None)
    assert received["b"] == (b"", [("traceparent", b"00-1"), ("ce_id", b"b"), ("ce_id", b"again")])
    assert refused.empty()


def test_all_of_many_arrive_once(service: Service, open_sink: OpenSink) -> None:
    sink, _ = open_sink()
    for number in range(1000):
        sink.publish(service.topic, str(number), b"x")
    assert sink.flush(60) == 0
    assert sorted(int(key) for key, _, _ in service.received(1000)) == list(range(1000))


def test_a_job_that_the_service_refuses_is_told_of_by_its_key_and_its_neighbours_arrive(
    service: Service, open_sink: OpenSink
) -> None:
    sink, refused = open_sink()
    sink.publish(service.topic, "before", b"1")
    assert sink.flush(60) == 0
    sink.publish(service.topic, "bad", REFUSED)
    assert sink.flush(60) == 0
    sink.publish(service.topic, "after", b"2")
    assert sink.flush(60) == 0
    key, reason = refused.get(timeout=30)
    assert key == "bad"
    assert "large" in reason
    assert {key for key, _, _ in service.received(2)} == {"before", "after"}


def test_a_refusal_is_told_of_without_a_flush(service: Service, open_sink: OpenSink) -> None:
    sink, refused = open_sink()
    sink.publish(service.topic, "bad", REFUSED)
    assert refused.get(timeout=30)[0] == "bad"


def test_a_full_queue_takes_nothing_and_says_so(service: Service, open_sink: OpenSink) -> None:
    sink, refused = open_sink(reachable=False, capacity=3)
    for number in range(3):
        sink.publish(service.topic, str(number), b"x")
    with pytest.raises(SinkFull):
        sink.publish(service.topic, "one too many", b"x")
    assert sink.flush(0.1) == 3
    assert refused.empty()


def test_closing_gives_up_what_cannot_be_delivered_and_names_it(service: Service, open_sink: OpenSink) -> None:
    sink, refused = open_sink(reachable=False)
    for number in range(3):
        sink.publish(service.topic, str(number), b"x")
    sink.close(0.1)
    assert sorted(refused.get(timeout=1)[0] for _ in range(3)) == ["0", "1", "2"]
    sink.close(0.1)
    assert refused.empty()


def test_a_record_over_the_local_limit_is_refused_at_once() -> None:
    sink = KafkaSink("127.0.0.1:1", max_job_bytes=LOCAL_LIMIT)
    sink.start(lambda _key, _reason: None)
    with pytest.raises(SinkRefused, match=r"5000000 bytes, more than max_job_bytes \(4000000\)"):
        sink.publish("t", "a", b"x" * 5_000_000)
    sink.close(0)


def test_a_property_that_librdkafka_does_not_know_is_refused_when_the_sink_is_made() -> None:
    with pytest.raises(ValueError, match=r"no\.such\.property"):
        KafkaSink("127.0.0.1:1", properties={"no.such.property": 1})
