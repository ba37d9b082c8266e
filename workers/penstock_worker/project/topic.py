"""Owns the questions that the projector asks about the outcomes topic: which one it is, and what its log holds.

They go over a connection of their own: on the consumer's they would wait behind its fetches, half a second each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, TopicCollection, TopicPartition, admin

from penstock_schemas.settings import Settings
from penstock_worker.kafka import admin_properties
from penstock_worker.logs import kafka_logger
from penstock_worker.project.source import Bounds

_ASK_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0
_EMBEDDED_ID: Final = "embedded"  # that broker cannot describe topics, nor find a time in them, and none is ever made again


class OutcomesTopic:
    """The topic that has the outcomes' name just now. Nothing here raises for a broker that is away."""

    def __init__(self, settings: Settings) -> None:
        self._log = structlog.get_logger("penstock.projector")
        self._name = settings.names.outcomes
        self._embedded = settings.kafka.embedded
        untyped: Any = admin  # its futures have no types, and some of its names are not exported
        self._offset_spec = untyped.OffsetSpec
        self._admin = untyped.AdminClient(admin_properties(settings) | {"logger": kafka_logger()})
        self._look: Future[Any] | None = None
        self._look_due = 0.0
        self._told: str | None = None
        self.id: str | None = _EMBEDDED_ID if self._embedded else None
        """As of a second or two ago. A topic that was deleted keeps its id here until there is another of its name."""

    def look(self) -> None:
        """Keep :attr:`id` fresh; never waits. To be called often."""
        if self._embedded:
            return
        if self._look is not None:
            if not self._look.done():
                return
            self._hear(self._look)
            self._look = None
        now = time.monotonic()
        if now >= self._look_due:
            self._look_due = now + _LOOK_SECONDS
            self._look = self._admin.describe_topics(TopicCollection([self._name]), request_timeout=_ASK_SECONDS)[self._name]

    def bounds(self, partitions: Iterable[int], since_ms: int) -> dict[int, Bounds]:
        """What the logs of ``partitions`` span; those that cannot be found out now are missing. Waits 2 s at most."""
        where = [TopicPartition(self._name, partition) for partition in partitions]
        if not where:
            return {}
        earliest = self._ask(where, self._offset_spec.earliest())
        latest = self._ask(where, self._offset_spec.latest())
        since = earliest if self._embedded else self._ask(where, self._offset_spec.for_timestamp(max(0, since_ms)))
        found: dict[int, Bounds] = {}
        for place in where:
            try:
                low, high, first = (int(answers[place].result(_ASK_SECONDS).offset) for answers in (earliest, latest, since))
            except (KafkaException, TimeoutError) as error:
                self._tell(f"the offsets of partition {place.partition} cannot be found out", error)
            else:
                found[place.partition] = Bounds(low, high, first if first >= 0 else high)
        return found

    def _ask(self, where: list[TopicPartition], what: Any) -> Mapping[TopicPartition, Future[Any]]:
        answers: Mapping[TopicPartition, Future[Any]] = self._admin.list_offsets(
            dict.fromkeys(where, what), request_timeout=_ASK_SECONDS
        )
        return answers

    def _hear(self, look: Future[Any]) -> None:
        try:
            description = look.result()
        except KafkaException as error:
            self._tell("the outcomes topic cannot be described", error)
            return
        if self._told is not None:
            self._told = None
            self._log.info("the outcomes topic answers again", topic=self._name)
        self.id = str(description.topic_id)

    def _tell(self, problem: str, error: Exception) -> None:
        """Once, until another problem comes or this one has gone."""
        if self._told != problem:
            self._told = problem
            self._log.warning(f"{problem}; trying again until it can", topic=self._name, error=str(error))
