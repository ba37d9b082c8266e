"""Owns gathering what a fleet's life has left behind: whole topics, every commit that was ever made, all of Redis."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Message, TopicPartition
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.faults.records import Commit, Record, Stored

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from penstock_schemas.names import Names
    from penstock_schemas.settings import Settings

_TIMEOUT: Final = 10.0
_HASTE: Final = 0.25
_GATHER: Final = 0.1
"""Seconds for which records are waited for until there are many."""
_COMMITS: Final = "__consumer_offsets"
_MANY: Final = 1000


class TopicReader:
    """Reads topics as a whole, in no group."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 0,
                "group.id": "tests-read-only",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": False,
            }
        )

    def ends(self, topic: str) -> dict[int, int]:
        """By partition, the offset after its last record."""
        partitions = self._consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        return {number: self._bounds(topic, number)[1] for number in partitions}

    def records(self, topic: str) -> list[Record]:
        """All that ``topic`` holds now, in order of partition and offset."""
        records: list[Record] = []
        for message in self._all(topic):
            place = message.partition() or 0, message.offset() or 0
            headers: Any = message.headers()  # typed as a dict, too, which only a producer may give
            key, value = _bytes(message.key()), _bytes(message.value())
            records.append(Record(*place, message.timestamp()[1], key, value, tuple(headers or ())))
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def commits(self, group: str, topics: Sequence[str]) -> dict[str, list[Commit]]:
        """Every commit of ``group`` for each of ``topics``, in order, as the broker wrote them down."""
        commits: dict[str, list[Commit]] = {topic: [] for topic in topics}
        for record in self.records(_COMMITS):
            for topic in topics:
                partition = _read_key(record.key or b"", group, topic)
                if partition is not None and record.value is not None:
                    offset = struct.unpack_from(">q", record.value, 2)[0]
                    commits[topic].append(Commit(partition, offset, record.time_ms))
        return commits

    def close(self) -> None:
        self._consumer.close()

    def _all(self, topic: str) -> Iterator[Message]:
        partitions = self._consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        bounds = {number: self._bounds(topic, number) for number in partitions}
        left = {number: end for number, (low, end) in bounds.items() if low < end}
        self._consumer.assign([TopicPartition(topic, number, bounds[number][0]) for number in left])
        while left:
            for message in self._consumer.consume(_MANY, _GATHER):
                if message.error() is not None:
                    raise AssertionError(f"{topic}-{message.partition()} cannot be read: {message.error()}")
                if (message.offset() or 0) < bounds[message.partition() or 0][1]:
                    yield message
            # Also over what is no record (the marks of transactions): those are passed without being handed out.
            for place in self._consumer.position([TopicPartition(topic, number) for number in left]):
                if place.offset >= left[place.partition]:
                    del left[place.partition]
        self._consumer.unassign()

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        bounds = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)
        return bounds[0], bounds[1]


def committed(admin: AdminClient, group: str) -> dict[tuple[str, int], int]:
    """The offsets that ``group`` has committed, by topic and partition. Raises KafkaException."""
    asked: Any = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=_TIMEOUT)
    found: list[TopicPartition] = asked[group].result(_TIMEOUT).topic_partitions or []
    return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}


class ResultReader:
    """Reads a fleet's Redis."""

    def __init__(self, settings: Settings) -> None:
        self._names: Names = settings.names
        # Its types leave what commands take and give unknown.
        self._redis: Any = Redis.from_url(settings.redis.url, socket_timeout=_TIMEOUT)
        # Who only looks in passing does not wait long for a server that hangs; nor does its client try again by itself.
        self._hasty: Any = Redis.from_url(settings.redis.url, socket_timeout=_HASTE, retry=Retry(NoBackoff(), 0))

    def everything(self) -> dict[str, Stored]:
        """Every result by job id."""
        prefix = self._names.result_prefix
        keys: list[bytes] = sorted(set(self._redis.scan_iter(f"{prefix}*", count=_MANY)))
        results: dict[str, Stored] = {}
        for begin in range(0, len(keys), _MANY):
            some = keys[begin : begin + _MANY]
            pipe = self._redis.pipeline(transaction=False)
            pipe.time()
            pipe.mget(some)
            for key in some:
                pipe.pttl(key)
            (seconds, micros), values, *left = pipe.execute()
            now_ms = seconds * 1000 + micros // 1000
            for key, value, ttl in zip(some, values, left, strict=True):
                if value is not None:
                    results[key.decode().removeprefix(prefix)] = Stored(value, now_ms + ttl)
        return results

    def some(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Those of ``ids`` that have a result now. Raises redis-py's errors."""
        values = self._hasty.mget([self._names.result_key(job_id) for job_id in ids])
        return {job_id: value for job_id, value in zip(ids, values, strict=True) if value is not None}

    def positions(self, partitions: Sequence[int]) -> dict[int, int]:
        """How far the projectors have come, by partition."""
        values = self._redis.mget([self._names.position_key(partition) for partition in partitions])
        return {partition: int(value.split()[-1]) for partition, value in zip(partitions, values, strict=True) if value}

    def close(self) -> None:
        self._redis.close()
        self._hasty.close()


def _bytes(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _read_key(key: bytes, group: str, topic: str) -> int | None:
    """The partition that a record of ``__consumer_offsets`` is about, if it is a commit of ``group`` for ``topic``.

    Kafka's OffsetCommitKey: version (0 or 1), group, topic, partition; big-endian, strings with their length in two bytes.
    """
    wanted = b"".join(struct.pack(">h", len(text)) + text.encode() for text in (group, topic))
    is_commit = len(key) == 2 + len(wanted) + 4 and key[:2] in (b"\x00\x00", b"\x00\x01") and key[2:-4] == wanted
    return struct.unpack(">i", key[-4:])[0] if is_commit else None
