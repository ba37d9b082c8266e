"""Owns what a worker's Kafka clients share: properties, what may be tuned and what the promises rest on, and their end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from confluent_kafka import KafkaError, KafkaException

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer

    from penstock_schemas.settings import Settings

UNREADABLE: Final = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})
"""Errors in a record's place that say that it is damaged."""

_LEAVE_SECONDS: Final = 10.0
"""How long what is assigned may take to be taken back."""


def leave(consumer: Consumer, poll: Callable[[], object]) -> None:
    """Leave the group and close ``consumer``; ``poll`` polls it for a moment. Its partitions are revoked on the way.

    A consumer without partitions sends no request to leave when it is just closed (librdkafka 2.16, cooperative): so it is
    unsubscribed first. And where partitions are revoked within its closing, it may be through with that before our callback
    is, which then waits for ever: so they are revoked before.
    """
    deadline = time.monotonic() + _LEAVE_SECONDS
    with contextlib.suppress(KafkaException):
        consumer.unsubscribe()
    poll()
    while consumer.assignment() and time.monotonic() < deadline:
        poll()
    consumer.close()


def admin_properties(settings: Settings) -> dict[str, Any]:
    """librdkafka's properties for a client that asks about topics, again and again, whichever broker is away just then.

    Such questions go to the broker that is known as the controller. Where that has just died, the client (2.16) would try to
    connect to it all the time, on a core of its own, and would not hear of another one for five minutes.
    """
    tuning: dict[str, Any] = {"enable.sparse.connections": False, "topic.metadata.refresh.interval.ms": 1000}
    return tuning | dict(settings.kafka.properties) | {"bootstrap.servers": settings.kafka.bootstrap_servers}


def group_properties(
    settings: Settings, group: str, *, reset: Literal["earliest", "error"], tuning: Mapping[str, Any]
) -> dict[str, Any]:
    """librdkafka's properties for a member of ``group`` that commits nothing by itself.

    ``tuning`` is what the member's role likes; the user's own properties win over it, and what the promises rest on
    wins over both. ``reset`` is what becomes of an offset that is not in the log.
    """
    kafka = settings.kafka
    properties: dict[str, Any] = {
        "check.crcs": True,
        # Once the prefetch is full, the default of 1000 stops fetching for a second.
        "fetch.queue.backoff.ms": 5,
    }
    if kafka.embedded:  # its fetches wait out their time, whatever arrives meanwhile
        properties["fetch.wait.max.ms"] = 10
    fixed: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": group,
        "group.protocol": kafka.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": reset,
        "enable.partition.eof": False,
        # A redrive is a transaction: what was not committed of it never was.
        "isolation.level": "read_committed",
    }
    if kafka.group_protocol == "classic":
        properties["session.timeout.ms"] = int(kafka.session_timeout * 1000)
        # The others learn by a heartbeat of theirs that a member is gone: it adds to what a killed worker's jobs wait.
        properties["heartbeat.interval.ms"] = int(min(kafka.session_timeout / 4, 1.0) * 1000)
        fixed["partition.assignment.strategy"] = "cooperative-sticky"
    return properties | dict(tuning) | dict(kafka.properties) | fixed
