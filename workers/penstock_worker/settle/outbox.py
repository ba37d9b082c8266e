"""Owns the producer: records go in, confirmations come out, and what Kafka refuses for now is published again.

Nothing here gives up, nothing blocks but :meth:`Outbox.wait`, and nothing is raised inside a callback.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from penstock_schemas.topics import LETTER_OVERHEAD
from penstock_worker.logs import kafka_logger
from penstock_worker.settle.reception import Reception

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

    from penstock_schemas.headers import Header
    from penstock_schemas.settings import Settings

_BATCH_BYTES: Final = 1_000_000
"""librdkafka's own default for the most bytes in a batch."""
_AGAIN_SECONDS: Final = 1.0
"""How long a refused record waits before it is published again."""
_MOST_REFUSED: Final = 64 * 1024 * 1024
"""From so many bytes on that wait for that, nothing more should be published."""
_HELD_OVERHEAD: Final = 1024
"""Bytes that a record which waits takes besides its own, rounded up."""


class Confirmation(Protocol):
    """The delivery callback of one record, or of many that settle alike. Called by the client while it is polled."""

    @property
    def headers(self) -> list[Header] | None:
        """The record's own: the client's message does not hold them any more in a delivery callback."""
        ...

    def __call__(self, error: KafkaError | None, message: Message) -> None: ...

    def smaller(self, value: bytes) -> bytes | None:
        """What is published in place of ``value``, which its topic refused for its size; None where nothing is."""
        ...


class _Held:
    """A record that was refused for now, or that the client's queue has no place for."""

    __slots__ = ("callback", "due", "key", "topic", "value")

    def __init__(self, topic: str, key: bytes | None, value: bytes | None, callback: Confirmation) -> None:
        self.due = 0.0
        self.topic = topic
        self.key = key
        self.value = value
        self.callback = callback

    def __len__(self) -> int:
        return len(self.value or b"") + _HELD_OVERHEAD


class Outbox:
    """A worker's producer."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._log = structlog.get_logger("penstock.settle")
        self._again: deque[_Held] = deque()
        self._again_bytes = 0
        self._waiting: deque[_Held] = deque()
        """What the client's full queue has no place for, in order."""
        self._next: deque[Callable[[], None]] = deque()
        self.fatal: str | None = None
        """Why this producer can publish nothing more; the worker must end, its offsets uncommitted."""
        self._reception = Reception(clock)
        self._producer = Producer(producer_properties(settings) | {"logger": kafka_logger()})

    def produce(self, topic: str, key: bytes | None, value: bytes | None, callback: Confirmation) -> None:
        """Hand one record to the client, behind those that wait for room there."""
        self._put(_Held(topic, key, value, callback))

    def produce_all(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes], callback: Confirmation) -> None:
        """Records without headers that settle alike, in one loop with nothing but the call in it."""
        produce = self._producer.produce
        done = 0
        try:
            for key, value in zip(keys, values, strict=True):
                produce(topic, value, key, -1, callback)
                done += 1
        except (BufferError, KafkaException):
            # The local queue is full, or one record is refused at once: the rest goes one by one, which handles either.
            for key, value in zip(keys[done:], values[done:], strict=True):
                self.produce(topic, key, value, callback)
        self.poll()

    def then(self, publish: Callable[[], None]) -> None:
        """Publish what follows from a confirmation: not from within its callback, but right after."""
        self._next.append(publish)

    @property
    def unconfirmed(self) -> int:
        """Records that are published, or about to be, and not yet confirmed."""
        return len(self._producer) + len(self._next) + len(self._again) + len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more should be published for now. What is all the same is kept, so this is what bounds memory."""
        return bool(self._waiting) or self._again_bytes >= _MOST_REFUSED

    @property
    def problem(self) -> str | None:
        """Why Kafka takes no outcomes for now, or None."""
        return self._reception.problem or ("Kafka takes no outcomes for now" if self.full else None)

    def poll(self) -> None:
        """Serve delivery callbacks, and publish what waits for one of them, for room, or for its second chance."""
        heard = self._producer.poll(0) > 0
        self._reception.look(heard=heard, waiting=len(self._producer))
        while self._waiting and self._hand_over(self._waiting[0]):
            self._waiting.popleft()
        while self._next:
            self._next.popleft()()
        while self._again and not self._waiting and self._again[0].due <= self._clock():
            again = self._again.popleft()
            self._again_bytes -= len(again)
            self._put(again)

    def wait(self, seconds: float) -> None:
        """Send what lingers at once, and block up to ``seconds`` until all of it is confirmed."""
        before = len(self._producer)
        after = self._producer.flush(seconds)
        self._reception.look(heard=after < before, waiting=after)
        self.poll()

    def refused(self, error: KafkaError | None, message: Message, callback: Confirmation) -> None:
        """The broker, or the client on its behalf, did not take a record: try again, smaller where it was too large.

        ``error`` is None for one that has no offset, though all seems well. A broker that has made a topic again may take a
        batch that comes late for one that it has, and the client then calls it delivered. It may be there, or nowhere.
        """
        if error is not None and error.fatal():
            self.fatal = error.str()
            return
        self._try_later(error, _Held(message.topic() or "", message.key(), message.value(), callback))

    def close(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for confirmations. Returns how many records are still without one."""
        deadline = self._clock() + timeout
        while self.unconfirmed and self._clock() < deadline and self.fatal is None:
            self.wait(0.05)
        return self.unconfirmed

    def _try_later(self, error: KafkaError | None, record: _Held) -> None:
        if error is not None and error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD) and record.value:
            self._log.warning("record larger than its topic takes", topic=record.topic, bytes=len(record.value))
            record.value = record.callback.smaller(record.value)
            if record.value is None:
                return
        else:
            self._reception.refused(record.topic, "it says that it has them, but not where" if error is None else error.str())
        record.due = self._clock() + _AGAIN_SECONDS
        self._again.append(record)
        self._again_bytes += len(record)

    def _put(self, record: _Held) -> None:
        if self._waiting or not self._hand_over(record):
            self._waiting.append(record)

    def _hand_over(self, record: _Held) -> bool:
        """Whether the client's queue had room for ``record``. What it refuses at once is tried again later."""
        if self.fatal is not None:
            return True
        headers = record.callback.headers
        more: dict[str, Any] = {"headers": headers} if headers else {}
        try:
            self._producer.produce(record.topic, record.value, record.key, on_delivery=record.callback, **more)
        except BufferError:
            return False
        except KafkaException as refused:
            error: KafkaError = refused.args[0]
            if error.fatal():
                self.fatal = error.str()
            else:
                self._try_later(error, record)
        return True


def producer_properties(settings: Settings) -> dict[str, Any]:
    """librdkafka's properties for what a worker publishes: idempotent, never giving up, one partitioner for all."""
    outcome_bytes, letter_bytes = settings.topics.max_outcome_bytes, settings.topics.max_job_bytes + LETTER_OVERHEAD
    largest = max(outcome_bytes, letter_bytes) + 64 * 1024
    tuning = {
        # Under load outcomes travel together, which halves the broker's work; with nothing to do, wait() sends at once.
        "linger.ms": 2,
        "message.max.bytes": min(1_000_000_000, largest),
        # A broker holds whole batches against its topic's limit: many small records must not be refused together.
        "batch.size": min(_BATCH_BYTES, outcome_bytes, letter_bytes),
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": max(256 * 1024, 4 * largest // 1024),
    }
    # The user's own properties win over that, and what the promises rest on wins over them.
    return (
        tuning
        | dict(settings.kafka.properties)
        | {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            # The Java client's partitioner: all who write one id must agree on its partition, or first-wins is void.
            "partitioner": "murmur2_random",
            # Outcomes wait for their broker as long as it takes; the jobs behind them are not committed meanwhile.
            "message.timeout.ms": 0,
        }
    )
