"""Owns sending jobs again: each batch of jobs and the records that say so go in one Kafka transaction, or not at all.

The transaction's id is the fleet's, so of two redrives the later one ends the earlier: what that had not committed is taken
back by the broker, and it can commit nothing more. That also tidies up after one that was killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from penstock.dead.plan import Job
from penstock.topics import KafkaUnreachable, TopicRefused, unreachable
from penstock_schemas.dead import build_redriven

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

TRANSACTION_TIMEOUT: Final = 10.0
"""How long the broker waits for one that was killed, in seconds: so long its open transaction holds up who reads the topic."""
GIVE_UP: Final = 60.0
"""How long a cluster may refuse to begin or commit, in seconds, before it counts as away."""
_STEP: Final = 2.0
"""How long one call waits, in seconds: signals are heard between calls."""
_TRIES: Final = 3
_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own code
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
    }
)


class Fenced(Exception):
    """Another redrive of the same fleet has begun: this one can send nothing more."""

    def __init__(self) -> None:
        super().__init__(
            "another `penstock dead redrive` of this fleet has begun since: only one runs at a time, and the later one goes on"
        )


class Redriver:
    """Sends jobs in transactions. Raises KafkaUnreachable, TopicRefused and Fenced.

    ``by`` and ``reason``: who is on record for it, and what for. ``between`` is called while the cluster is waited for, and may
    raise to end that.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        by: str,
        reason: str = "",
        give_up: float = GIVE_UP,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._by = by
        self._reason = reason
        self._give_up = give_up
        self._between = between
        self._dead = settings.names.dead
        self._refusal: KafkaError | None = None
        most = settings.topics.max_job_bytes
        self._producer = Producer(
            {
                **settings.kafka.properties,
                "log_level": 0,
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "transactional.id": f"{settings.fleet}.redrive",
                "transaction.timeout.ms": int(TRANSACTION_TIMEOUT * 1000),
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "none",  # as for every job: the topic is uncompressed
                "partitioner": "murmur2_random",
                "message.max.bytes": most + 64 * 1024,
                "linger.ms": 5,
                "on_delivery": self._delivered,
                "logger": _silent(),
            }
        )

    def open(self) -> None:
        """Become the one redriver of the fleet; whatever an earlier one left open is taken back before this returns."""
        self._insist(lambda: self._producer.init_transactions(_STEP))

    def close(self) -> None:
        """Let go; what is not committed is dropped: the broker takes it back, or the next redrive has it do so."""
        self._producer.purge()
        # Not its own close(): that waits, without an end, for a broker that may be away to take the transaction back.
        del self._producer

    def send(self, jobs: Sequence[Job]) -> None:
        """Send these jobs and the records that they were sent: all of it, once, or nothing where this raises.

        Where the cluster goes away in the middle of the commit nobody here can know which; reading the topic again tells.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._transaction(jobs)
            except KafkaException as error:
                self._abort(error, last=not left)
            else:
                return

    def _transaction(self, jobs: Sequence[Job]) -> None:
        self._refusal = None
        self._producer.begin_transaction()
        time_ms = time.time_ns() // 1_000_000
        for job in jobs:
            self._producer.produce(job.topic, job.value, job.key, headers=[*job.headers])
            audit = build_redriven(
                job.letter.identity,
                by=self._by,
                time_ms=time_ms,
                generation=job.generation,
                job_id=job.letter.id or "",
                model=job.letter.facts.model,
                reason=self._reason,
            )
            # Behind the letter in its own partition, so that whoever has read the letter is still to read this.
            partition = job.letter.record.partition
            self._producer.produce(self._dead, audit.value, headers=[*audit.headers], partition=partition)
        self._insist(lambda: self._producer.commit_transaction(_STEP))

    def _insist(self, call: Callable[[], None]) -> None:
        """Repeat a call that may be repeated until it is through. Raises what will not pass."""
        deadline = time.monotonic() + self._give_up
        while True:
            try:
                return call()
            except KafkaException as caught:
                error: KafkaError = caught.args[0]
                if not error.retriable() or error.txn_requires_abort():
                    self._raise_fenced(error)
                    raise
                self._between()
                if time.monotonic() > deadline:
                    raise unreachable(self._settings, caught) from caught

    def _abort(self, error: KafkaException, *, last: bool) -> None:
        """Take the transaction back, for another try; raises where there is no sense in one."""
        reason: KafkaError = error.args[0]
        self._raise_fenced(reason)
        if reason.fatal() or not reason.txn_requires_abort():
            raise unreachable(self._settings, error) from error
        try:
            self._insist(lambda: self._producer.abort_transaction(_STEP))
        except KafkaException as second:
            raise unreachable(self._settings, second) from second
        refusal = self._refusal
        if refusal is not None and not refusal.retriable() and refusal.code() != KafkaError._MSG_TIMED_OUT:  # noqa: SLF001
            raise TopicRefused(f"Kafka does not take a job or the record of it: {refusal.str()}") from error
        if last:
            raise KafkaUnreachable(f"Kafka refused a transaction {_TRIES} times: {reason.str()}") from error

    def _raise_fenced(self, error: KafkaError) -> None:
        if error.code() in _FENCED:
            raise Fenced from KafkaException(error)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's callback: keeps the first reason; records that go down with it say only that they were purged."""
        del message
        if error is not None and self._refusal is None and error.code() != KafkaError._PURGE_QUEUE:  # noqa: SLF001
            self._refusal = error


def _silent() -> logging.Logger:
    """Takes what librdkafka would print beside our own sentences: being fenced is fatal to it, whatever its log level."""
    logger = logging.getLogger("penstock.dead.librdkafka")
    logger.disabled = True
    return logger
