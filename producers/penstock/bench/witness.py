"""Owns looking at a fleet's topics for what a client does not see: when the broker took a job, and when its outcome."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

_WAIT: Final = 0.1
_ASK_SECONDS: Final = 10.0
_MOST: Final = 1000
_PATIENCE: Final = 2.0
"""A record is seen by now that was written so many seconds ago."""
_KEPT: Final = 200_000
"""Records that nobody asks for are forgotten, the oldest first, where there are more."""


class Mean:
    """The mean of some times, in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self._sum += seconds

    @property
    def seconds(self) -> float | None:
        """None: of nothing."""
        return self._sum / self.count if self.count else None


class Witness:
    """Reads one partition of the jobs topic and one of the outcomes topic, from now on: a sample that costs little.

    Times are the broker's (LogAppendTime), in seconds since the epoch. Kafka cuts them off at the millisecond: half of one
    is added, so that their mean is right.
    """

    def __init__(self, properties: Mapping[str, Any], jobs_topic: str, outcomes_topic: str) -> None:
        """Raises KafkaException where the topics cannot be read."""
        fixed = {"group.id": f"penstock-bench-{secrets.token_hex(4)}", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer({"fetch.queue.backoff.ms": 5, **properties, **fixed})
        self.publish, self.project = Mean(), Mean()
        """From when a job was due until the broker had it; from when it had the outcome until the caller did."""
        self._taken: dict[str, float] = {}
        self._settled: dict[str, float] = {}
        self._seen = {jobs_topic: self._taken, outcomes_topic: self._settled}
        self._told: deque[tuple[str, float, float]] = deque()
        self._places = [self._end(topic) for topic in self._seen]
        self._consumer.assign(self._places)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="bench-witness", daemon=True)
        self._thread.start()

    def tell(self, job_id: str, due: float, back: float) -> None:
        """A job was due then, and its result here. In seconds since the epoch; one thread calls it."""
        self._told.append((job_id, due, back))
        while self._told and self._told[0][2] < back - _PATIENCE:
            self._match(*self._told.popleft())

    def close(self) -> None:
        """Read no more, and take in what was told last."""
        self._stop.wait(_PATIENCE if self._told else 0.0)
        while self._told:
            self._match(*self._told.popleft())
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _match(self, job_id: str, due: float, back: float) -> None:
        taken, settled = self._taken.pop(job_id, None), self._settled.pop(job_id, None)
        if taken is not None:
            self.publish.add(taken - due)
        if settled is not None:
            self.project.add(back - settled)

    def _end(self, topic: str) -> TopicPartition:
        """Where the topic's first partition ends now."""
        place = TopicPartition(topic, 0)
        _, place.offset = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
        return place

    def _read(self) -> None:
        while not self._stop.is_set():
            first = self._consumer.poll(_WAIT)
            if first is None:
                continue
            for message in (first, *self._consumer.consume(_MOST - 1, 0)):
                key, topic = message.key(), message.topic()
                if message.error() is None and isinstance(key, bytes) and topic is not None:
                    _, ms = message.timestamp()
                    self._seen[topic].setdefault(key.decode("ascii", "replace"), (ms + 0.5) / 1e3)
            for seen in self._seen.values():
                for job_id in list(islice(seen, max(0, len(seen) - _KEPT))):
                    seen.pop(job_id, None)
