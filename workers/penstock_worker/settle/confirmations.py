"""Owns what happens when the broker has confirmed a record: delivery callbacks, one class a kind of record."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from penstock_schemas.dead import DIGEST, SIZE
from penstock_worker.settle.letters import too_large_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError, Message

    from penstock_schemas.headers import Header
    from penstock_worker.intake.ledger import Entry
    from penstock_worker.settle.outbox import Outbox


class OutcomeConfirmed:
    """The delivery callback of all outcomes of one entry: one object a run of records, not one a record."""

    __slots__ = ("_entry", "_outbox")

    headers: list[Header] | None = None
    """Outcomes have none."""

    def __init__(self, outbox: Outbox, entry: Entry) -> None:
        self._outbox = outbox
        self._entry = entry

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None and message.offset() is not None:
            self._entry.unsettled -= 1
        else:
            self._outbox.refused(error, message, self)

    def smaller(self, value: bytes) -> bytes:
        """A failed outcome, unless it is one already: then the topic takes next to nothing, and we wait for better days."""
        other = too_large_outcome(value)
        return other if len(other) < len(value) else value


class LetterConfirmed:
    """The delivery callback of one dead letter: what is to follow it, its job's outcome, follows."""

    __slots__ = ("_outbox", "_then", "headers")

    def __init__(self, outbox: Outbox, headers: list[Header], then: Callable[[], None]) -> None:
        self._outbox = outbox
        self._then = then
        self.headers: list[Header] | None = headers

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None and message.offset() is not None:
            self._outbox.then(self._then)
        else:
            self._outbox.refused(error, message, self)

    def smaller(self, value: bytes) -> bytes:
        """The letter without its body."""
        told = [(DIGEST, hashlib.sha256(value).hexdigest().encode()), (SIZE, b"%d" % len(value))]
        self.headers = [*told, *(self.headers or [])]
        return b""


class RetryConfirmed:
    """The delivery callback of one retry record, which settles its job; or ends it, where its topic will not take it."""

    __slots__ = ("_bury", "_outbox", "_settle", "headers")

    def __init__(self, outbox: Outbox, headers: list[Header], settle: Callable[[], None], bury: Callable[[], None]) -> None:
        """``bury`` ends the job where the topic will not take the record."""
        self._outbox = outbox
        self._settle = settle
        self._bury = bury
        self.headers: list[Header] | None = headers

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None and message.offset() is not None:
            self._settle()
        else:
            self._outbox.refused(error, message, self)

    def smaller(self, value: bytes) -> None:
        """Nothing: without its body it would be no job."""
        del value
        self._outbox.then(self._bury)


class ProbeConfirmed:
    """The delivery callback of a question for the broker's time."""

    __slots__ = ("_told", "headers")

    def __init__(self, headers: list[Header], told: Callable[[int | None], None]) -> None:
        self.headers: list[Header] | None = headers
        self._told = told

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._told(message.timestamp()[1] if error is None else None)

    def smaller(self, value: bytes) -> None:
        """It has no value."""
