"""Owns what a consumer's Kafka client says is wrong: remembered for the readiness probe, and logged once a change of state."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException

if TYPE_CHECKING:
    from confluent_kafka import Message

_LOOK_EVERY: Final = 3.0
_COMPLAIN_EVERY: Final = 60.0
"""Some partitions' commits may fail while others' succeed: that is said so often at most. And an error that has not come for
so long is another one."""
_REBALANCING: Final = frozenset({KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION})
"""What a commit is answered that meets a change of the group: it is taken a moment later."""


class Health:
    """A consumer's troubles. Its methods are the client's callbacks: nothing in them raises."""

    def __init__(self, logger: str) -> None:
        self._log = structlog.get_logger(logger)
        self._told: dict[Any, tuple[str, float]] = {}
        """The last error of each partition, and when that was."""
        self._complained: str | None = None
        self._look_due = 0.0
        self._complain_due = -math.inf
        self.fatal: str | None = None
        """Why this consumer can read nothing more."""
        self.commit_failed = False
        """Whether a commit has failed since the owner last looked; it should then commit everything again."""
        self.down = False
        """Whether no broker can be reached, as far as the client knows."""

    def on_error(self, error: KafkaError) -> None:
        """The client's error callback."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            if not self.down:
                self.down = True
                self._log.warning("no broker can be reached; waiting", error=error.str())
        elif error.fatal():
            self.fatal = error.str()
        elif self._complained != error.name() and error.code() != KafkaError._TRANSPORT:  # noqa: SLF001  # its public name
            self._complained = error.name()
            self._log.warning("Kafka client error", error=error.str())

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""
        return "no Kafka broker can be reached" if self.down else None

    def look(self, consumer: Any, topic: str) -> None:
        """While no broker is known to be up, ask now and then: an idle worker hears of it in no other way."""
        now = time.monotonic()
        if not self.down or now < self._look_due:
            return
        self._look_due = now + _LOOK_EVERY
        try:
            consumer.list_topics(topic, timeout=0.2)
        except KafkaException:
            return
        self.down = False
        self._complained = None
        self._log.info("Kafka can be reached again")

    def commit_refused(self, error: KafkaError) -> None:
        """Note a failed commit, for the owner to commit again; and say so, now and then."""
        self.commit_failed = True
        if error.code() not in _REBALANCING and time.monotonic() >= self._complain_due:
            self._complain_due = time.monotonic() + _COMPLAIN_EVERY
            self._log.warning("commits fail; until one succeeds, a new owner would repeat these jobs", error=error.str())

    def tell(self, message: Message) -> None:
        """Log an error that came in a message's place: once, until another one comes from there, or it has been away."""
        error, now = message.error(), time.monotonic()
        where = message.topic(), message.partition()
        if error is not None:
            name, at = self._told.get(where, ("", -math.inf))
            self._told[where] = error.name(), now
            if name != error.name() or now - at > _COMPLAIN_EVERY:
                self._log.warning("fetch error", error=error.str(), topic=where[0], partition=where[1], offset=message.offset())
