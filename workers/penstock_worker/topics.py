"""Owns the look at the topics, before a worker starts and while it works: are they there, does a setting break a promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka import admin as kafka_admin

from penstock_schemas.topics import PresentTopic, differences, wanted_topics

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

_ADMIN: Final[Any] = kafka_admin  # its stubs do not export what it documents
_TIMEOUT: Final = 10.0
_AGAIN: Final = 2.0
_LOOK_EVERY: Final = 15.0


class WrongTopicsError(Exception):
    """Topics are not as the contract needs them; the message lists what and how to mend it."""


def await_topics(settings: Settings, stopping: Callable[[], bool]) -> None:
    """Return when every topic is there, waiting for the missing and for Kafka itself with one log line a state change.

    Raises :class:`WrongTopicsError` where a topic's settings break the contract.
    """
    if settings.kafka.embedded:
        return
    log = structlog.get_logger("penstock.topics")
    told = ""
    admin = _admin(settings)
    while not stopping():
        try:
            problem = _look(admin, settings)
        except KafkaException as error:
            problem = f"Kafka at {settings.kafka.bootstrap_servers} does not answer: {error.args[0].str()}"
        if not problem:
            return
        if problem != told:
            log.warning("waiting", reason=problem)
            told = problem
        time.sleep(_AGAIN)


class TopicWatch:
    """Looks at the topics now and then, in a thread of its own: people delete topics, and change what they are set to."""

    def __init__(self, settings: Settings, every: float = _LOOK_EVERY) -> None:
        """``every``: seconds between two looks."""
        self._settings = settings
        self._every = every
        self._log = structlog.get_logger("penstock.topics")
        self._stopped = threading.Event()
        self.problem: str | None = None
        """What is wrong with the topics, as far as is known."""
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)
        if not settings.kafka.embedded:
            self._thread.start()

    def stop(self) -> None:
        """Look no more; does not wait for a look that is under way."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                problem = _look(_admin(self._settings), self._settings) or None
            except WrongTopicsError as error:
                problem = str(error)
            except KafkaException:
                continue  # that it is away is told elsewhere
            if problem != self.problem:
                self.problem = problem
                if problem is None:
                    self._log.info("the topics are as they must be again")
                else:
                    self._log.error("the topics are not as they must be", reason=problem)


def _admin(settings: Settings) -> Any:
    properties = {"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0, **settings.kafka.properties}
    return _ADMIN.AdminClient(properties)


def _look(admin: Any, settings: Settings) -> str:
    """Why the worker must wait, or an empty text."""
    metadata = admin.list_topics(timeout=_TIMEOUT)
    wanted = wanted_topics(settings, len(metadata.brokers))
    known = {name for name, topic in metadata.topics.items() if topic.partitions}  # one that comes or goes has none
    there = [topic.name for topic in wanted if topic.name in known]
    missing = [topic.name for topic in wanted if topic.name not in known]
    if missing:
        return f"topics are missing: {', '.join(missing)}; make them with: penstock topics apply"
    resources = [_ADMIN.ConfigResource(_ADMIN.ResourceType.TOPIC, name) for name in there]
    present: dict[str, PresentTopic] = {}
    for resource, answer in admin.describe_configs(resources, request_timeout=_TIMEOUT).items():
        partitions = metadata.topics[resource.name].partitions
        config = {key: entry.value for key, entry in answer.result(_TIMEOUT).items()}
        present[resource.name] = PresentTopic(len(partitions), min(len(p.replicas) for p in partitions.values()), config)
    broken = [difference for difference in differences(wanted, present) if difference.breaks_contract]
    if broken:
        listing = "; ".join(map(str, broken))
        raise WrongTopicsError(f"{listing}. Mend with: penstock topics apply")
    return ""
