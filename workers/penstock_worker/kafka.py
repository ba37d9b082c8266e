"""Owns what a worker's Kafka clients share: properties, what may be tuned and what the promises rest on, and their end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from penstock_worker.standstill import EVERY_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer

    from penstock_schemas.settings import Settings

UNREADABLE: Final = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG})
"""Errors in a record's place that say that it is damaged."""
NOT_IN_LOG: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION})
"""Errors that say that there is nothing at an offset: the client stands still until it is sent elsewhere."""

PATIENCE: Final = 8.0
"""Seconds that leaving the group may wait for its turn, and what is assigned to be taken back."""
_ASK_STEP: Final = 0.2
_POLLS_APART: Final = 30.0
"""Seconds between two polls of a member, at most, besides what giving up partitions may take: its own, and, in turn before
that, every other member's of its worker."""
_unclosed: Final[list[Consumer]] = []


def leave(consumer: Consumer, topic: str, poll: Callable[[], object], until: float) -> None:
    """Leave the group and close ``consumer``; ``poll`` polls it for a moment. Its partitions are revoked on the way.

    The client would leave some groups without a word, and they would hold our place, and perhaps wait for us as their
    leader, until our session ends. While others still join, a request to leave stands behind our own join and goes down
    with the connection: so a question (about ``topic``) that stands in the same line is asked first. Where it is not
    answered before ``until`` (monotonic seconds), the consumer is left as it is, for closing it might wait for ever.

    A consumer without partitions sends no request to leave when it is just closed (librdkafka 2.16, cooperative): so it is
    unsubscribed first. And where partitions are revoked within its closing, it may be through with that before our callback
    is, which then waits for ever: so they are revoked before.
    """
    while not _has_its_turn(consumer, topic):
        if time.monotonic() >= until:
            log = structlog.get_logger("penstock.kafka")
            log.warning("the group does not answer; it goes on without us when our session ends", topic=topic)
            _unclosed.append(consumer)
            return
        poll()
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(KafkaException):
        consumer.unsubscribe()
    poll()
    while consumer.assignment():
        if time.monotonic() >= deadline:
            _unclosed.append(consumer)
            return
        poll()
    consumer.close()


def end_process(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and end this process, at once where a consumer was not closed: destroying it might wait for ever, too."""
    status = 1
    try:
        status = main()
    except Exception:
        if not _unclosed:
            raise
        traceback.print_exc()
    if _unclosed:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _has_its_turn(consumer: Consumer, topic: str) -> bool:
    """Whether nothing of ours stands before what is asked now; or nobody can be asked."""
    try:
        consumer.committed([TopicPartition(topic, 0)], timeout=_ASK_STEP)
    except KafkaException as error:
        refused: KafkaError = error.args[0]
        return refused.code() != KafkaError._TIMED_OUT  # noqa: SLF001  # its public name
    return True


def admin_properties(settings: Settings) -> dict[str, Any]:
    """librdkafka's properties for a client that asks about topics, again and again, whichever broker is away just then.

    Such questions go to the broker that is known as the controller. Where that has just died, the client (2.16) would try to
    connect to it all the time, on a core of its own, and would not hear of another one for five minutes.
    """
    tuning: dict[str, Any] = {"enable.sparse.connections": False, "topic.metadata.refresh.interval.ms": 1000}
    return tuning | dict(settings.kafka.properties) | {"bootstrap.servers": settings.kafka.bootstrap_servers}


def group_properties(settings: Settings, group: str, *, tuning: Mapping[str, Any]) -> dict[str, Any]:
    """librdkafka's properties for a member of ``group`` that commits nothing by itself.

    ``tuning`` is what the member's role likes; the user's own properties win over it, and what the promises rest on
    wins over both.
    """
    kafka = settings.kafka
    session_ms = int(kafka.properties.get("session.timeout.ms", kafka.session_timeout * 1000))
    members = len(settings.worker.queues) + 1
    apart_ms = int((_POLLS_APART + members * settings.worker.revoke_grace) * 1000)
    properties: dict[str, Any] = {
        "check.crcs": True,
        # Once the prefetch is full, the default of 1000 stops fetching for a second.
        "fetch.queue.backoff.ms": 5,
        # A request to join that is lost is made again after this time, not before: so long, a member is out of the group, or
        # goes on with partitions that others have got. The default is five minutes. We poll whatever the engines do.
        "max.poll.interval.ms": max(apart_ms, session_ms),
    }
    if kafka.embedded:  # its fetches wait out their time, whatever arrives meanwhile
        properties["fetch.wait.max.ms"] = 10
    fixed: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": group,
        "group.protocol": kafka.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Where to go on is ours to say: what is damaged leads the client to offsets that are not in the log (see damage.py).
        "auto.offset.reset": "error",
        "enable.partition.eof": False,
        "statistics.interval.ms": EVERY_MS,
        # A redrive is a transaction: what was not committed of it never was.
        "isolation.level": "read_committed",
    }
    if kafka.group_protocol == "classic":
        properties["session.timeout.ms"] = session_ms
        # The others learn by a heartbeat of theirs that a member is gone: it adds to what a killed worker's jobs wait.
        properties["heartbeat.interval.ms"] = int(min(kafka.session_timeout / 4, 1.0) * 1000)
        fixed["partition.assignment.strategy"] = "cooperative-sticky"
    return properties | dict(tuning) | dict(kafka.properties) | fixed
