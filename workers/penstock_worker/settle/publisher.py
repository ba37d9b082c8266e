"""Owns settling: publishing outcomes and dead letters, and counting jobs as settled when the broker has confirmed them.

A failed job's letter is confirmed before its outcome is published; the outcome alone settles. What the broker refuses for a
passing reason is published again; nothing here gives up, and nothing is raised inside a callback.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from penstock_schemas.topics import LETTER_OVERHEAD
from penstock_worker.intake.delivery import runs
from penstock_worker.logs import kafka_logger
from penstock_worker.settle.letters import Letters, too_large_outcome, without_body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message
    from numpy.typing import NDArray

    from penstock_schemas.headers import Header
    from penstock_schemas.settings import Settings
    from penstock_worker.engine.wire import Answer, Failure
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import Entry, TopicPartition

_BATCH_BYTES: Final = 1_000_000
"""librdkafka's own default for the most bytes in a batch."""
_AGAIN_SECONDS: Final = 1.0
"""How long a refused record waits before it is published again."""
_MOST_REFUSED: Final = 64 * 1024 * 1024
"""From so many bytes on that wait for that, nothing more should be published."""
_HELD_OVERHEAD: Final = 1024
"""Bytes that a record which waits takes besides its own, rounded up."""


class _Confirmation:
    """The delivery callback of all outcomes of one entry: one object a run of records, not one a record."""

    __slots__ = ("_entry", "_publisher")

    headers: list[Header] | None = None
    """Outcomes have none."""

    def __init__(self, publisher: Publisher, entry: Entry) -> None:
        self._publisher = publisher
        self._entry = entry

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._entry.unsettled -= 1
        else:
            self._publisher.refused(error, message, self)


class _LetterConfirmation:
    """The delivery callback of one dead letter: its job's outcome follows, or, for a gap, the entry is settled."""

    __slots__ = ("_entry", "_id", "_outcome", "_publisher", "headers")

    def __init__(
        self, publisher: Publisher, entry: Entry, headers: list[Header], job_id: bytes = b"", outcome: bytes | None = None
    ) -> None:
        self.headers: list[Header] | None = headers
        """The letter's own: the client's message does not hold them any more in a delivery callback."""
        self._publisher = publisher
        self._entry = entry
        self._id = job_id
        self._outcome = outcome

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._publisher.refused(error, message, self)
        elif self._outcome is None:
            self._entry.unsettled -= 1
        else:
            self._publisher.follow(self._id, self._outcome, _Confirmation(self._publisher, self._entry))


class _Again:
    """A record that was refused for now, or that the client's queue has no place for."""

    __slots__ = ("callback", "due", "headers", "key", "topic", "value")

    def __init__(self, due: float, topic: str, key: bytes | None, value: bytes | None, headers: Any, callback: Any) -> None:
        self.due = due
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.callback = callback

    def __len__(self) -> int:
        return len(self.value or b"") + _HELD_OVERHEAD


class Publisher:
    """The producer's side of a worker."""

    def __init__(self, settings: Settings, worker: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._letters = Letters(settings, worker)
        self._clock = clock
        self._log = structlog.get_logger("penstock.settle")
        self._outcomes = settings.names.outcomes
        self._dead = settings.names.dead
        self._again: deque[_Again] = deque()
        self._again_bytes = 0
        self._waiting: deque[_Again] = deque()
        """What the client's full queue has no place for, in order."""
        self._following: deque[tuple[bytes, bytes, _Confirmation]] = deque()
        self.fatal: str | None = None
        """Why this producer can publish nothing more; the worker must end, its offsets uncommitted."""
        self._complained: str | None = None
        self._producer = Producer(producer_properties(settings) | {"logger": kafka_logger()})

    def publish(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        """Publish what came of the jobs ``indices`` of ``delivery``; ``answer`` may hold others, answered before.

        Jobs that failed get their dead letter first.
        """
        said = np.frombuffer(answer.indices, np.int32)
        if not answer.failures and len(indices) == len(said):
            self._publish_whole(delivery, answer, said)
            return
        for place in np.flatnonzero(np.isin(said, indices)).tolist():
            index = int(said[place])
            key = delivery.keys[index] if answer.keys is None else answer.keys[place]
            failure = answer.failures.get(index)
            entry = delivery.entry(index)
            if failure is not None:
                self._bury(delivery, index, key or b"", answer.values[place], failure, entry)
            else:
                self._produce(self._outcomes, key, answer.values[place], None, _Confirmation(self, entry))

    def _publish_whole(self, delivery: Delivery, answer: Answer, said: NDArray[np.int32]) -> None:
        """The fast way: all of ``answer``, which holds no failure, a stretch of neighbours on one entry at a time."""
        own = delivery.keys
        places: list[int] = said.tolist()
        keys: Sequence[bytes | None] = [own[i] for i in places] if answer.keys is None else answer.keys
        if delivery.which is None:
            self._produce_all(keys, answer.values, _Confirmation(self, delivery.entries[0]))
            return
        which = delivery.which[said]
        for begin, end in runs(which):
            confirmed = _Confirmation(self, delivery.entries[int(which[begin])])
            self._produce_all(keys[begin:end], answer.values[begin:end], confirmed)

    def gap(self, partition: TopicPartition, first: int, last: int, entry: Entry) -> None:
        """Record a range of a jobs topic that retention deleted before anyone read it: one letter for all of it."""
        letter = self._letters.gap(partition, first, last)
        self._produce(self._dead, letter.key, letter.value, letter.headers, _LetterConfirmation(self, entry, letter.headers))

    @property
    def unconfirmed(self) -> int:
        """Records that are published, or about to be, and not yet confirmed."""
        return len(self._producer) + len(self._following) + len(self._again) + len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more should be published for now. What is all the same is kept, so this is what bounds memory."""
        return bool(self._waiting) or self._again_bytes >= _MOST_REFUSED

    def poll(self) -> None:
        """Serve delivery callbacks, and publish what waits for one of them, for room, or for its second chance."""
        self._producer.poll(0)
        while self._waiting and self._hand_over(self._waiting[0]):
            self._waiting.popleft()
        while self._following:
            key, value, callback = self._following.popleft()
            self._produce(self._outcomes, key, value, None, callback)
        while self._again and not self._waiting and self._again[0].due <= self._clock():
            again = self._again.popleft()
            self._again_bytes -= len(again)
            self._produce(again.topic, again.key, again.value, again.headers, again.callback)

    def wait(self, seconds: float) -> None:
        """Send what lingers at once, and block up to ``seconds`` until all of it is confirmed."""
        self._producer.flush(seconds)
        self.poll()

    def follow(self, key: bytes, value: bytes, callback: _Confirmation) -> None:
        """Publish an outcome whose letter is confirmed; called from a callback, so only noted here."""
        self._following.append((key, value, callback))

    def refused(self, error: KafkaError, message: Message, callback: _Confirmation | _LetterConfirmation) -> None:
        """The broker, or the client on its behalf, did not take a record: try again, smaller where it was too large."""
        if error.fatal():
            self.fatal = error.str()
            return
        topic = message.topic() or self._outcomes
        self._try_later(error, _Again(0.0, topic, message.key(), message.value(), callback.headers, callback))

    def _try_later(self, error: KafkaError, record: _Again) -> None:
        topic, value = record.topic, record.value
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD) and value:
            self._log.warning("record larger than its topic takes; published without its body", topic=topic, bytes=len(value))
            record.value, record.headers = self._smaller(topic, value, record.headers)
            if record.headers is not None:
                record.callback.headers = record.headers
        elif self._complained != error.name():
            self._complained = error.name()
            self._log.warning("Kafka does not take records; trying on", topic=topic, error=error.str())
        record.due = self._clock() + _AGAIN_SECONDS
        self._again.append(record)
        self._again_bytes += len(record)

    def _smaller(self, topic: str, value: bytes, headers: Any) -> tuple[bytes, Any]:
        """What takes the place of a record that was too large: another outcome, or the letter without its body."""
        if topic != self._outcomes:
            return b"", without_body(value, headers)
        smaller = too_large_outcome(value)
        return (smaller, headers) if len(smaller) < len(value) else (value, headers)

    def close(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for confirmations. Returns how many records are still without one."""
        deadline = self._clock() + timeout
        while self.unconfirmed and self._clock() < deadline and self.fatal is None:
            self.wait(0.05)
        return self.unconfirmed

    def _produce_all(self, keys: Sequence[bytes | None], values: Sequence[bytes], confirmed: _Confirmation) -> None:
        """Outcomes of one entry, in one loop with nothing but the call in it."""
        produce, topic = self._producer.produce, self._outcomes
        done = 0
        try:
            for key, value in zip(keys, values, strict=True):
                produce(topic, value, key, -1, confirmed)
                done += 1
        except (BufferError, KafkaException):
            # The local queue is full, or one record is refused at once: the rest goes one by one, which handles either.
            for key, value in zip(keys[done:], values[done:], strict=True):
                self._produce(topic, key, value, None, confirmed)
        self.poll()

    def _bury(self, delivery: Delivery, index: int, key: bytes, outcome: bytes, failure: Failure, entry: Entry) -> None:
        letter = self._letters.job(delivery, index, key, failure)
        confirmation = _LetterConfirmation(self, entry, letter.headers, key, outcome)
        self._produce(self._dead, letter.key, letter.value, letter.headers, confirmation)

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, headers: Any, callback: Any) -> None:
        """Hand one record to the client, behind those that wait for room there."""
        record = _Again(0.0, topic, key, value, headers, callback)
        if self._waiting or not self._hand_over(record):
            self._waiting.append(record)

    def _hand_over(self, record: _Again) -> bool:
        """Whether the client's queue had room for ``record``. What it refuses at once is tried again later."""
        if self.fatal is not None:
            return True
        more = {"headers": record.headers} if record.headers else {}
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
    """librdkafka's properties for outcomes and letters: idempotent, never giving up, one partitioner for all."""
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
