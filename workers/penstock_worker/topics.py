"""Owns the look at the topics, before a worker starts and while it works: are they there, does a setting break a promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka import admin as kafka_admin

from penstock_schemas.topics import PresentTopic, differences, wanted_topics
from penstock_worker.kafka import admin_properties

if TYPE_CHECKING:
    from concurrent.futures import Future

    from penstock_schemas.settings import Settings

_ADMIN: Final[Any] = kafka_admin  # its stubs do not export what it documents
_TIMEOUT: Final = 10.0
_AGAIN: Final = 2.0
_LOOK_EVERY: Final = 15.0


Ids = Mapping[str, str]
"""Ids of topics, by name: one that is made again has another."""


class _Look(NamedTuple):
    """What one look has found: why the worker must wait, or an empty text; and whether waiting alone mends nothing."""

    problem: str
    ids: Ids
    breaks: bool = False


class WrongTopicsError(Exception):
    """Topics are not as the contract needs them; the message lists what and how to mend it."""


def await_topics(settings: Settings, stopping: Callable[[], bool]) -> Ids:
    """Return when every topic is there, waiting for the missing and for Kafka itself with one log line a state change.

    Returns the topics' ids, by name. Raises :class:`WrongTopicsError` where a topic's settings break the contract.
    """
    if settings.kafka.embedded:
        return {}
    log = structlog.get_logger("penstock.topics")
    told = ""
    admin = _admin(settings)
    while not stopping():
        try:
            look = _look(admin, settings)
        except KafkaException as error:
            look = _Look(f"Kafka at {settings.kafka.bootstrap_servers} does not answer: {error.args[0].str()}", {})
        if look.breaks:
            raise WrongTopicsError(look.problem)
        if not look.problem:
            return look.ids
        if look.problem != told:
            log.warning("waiting", reason=look.problem)
            told = look.problem
        time.sleep(_AGAIN)
    return {}


class TopicWatch:
    """Looks at the topics now and then, in a thread of its own: people delete topics, and change what they are set to."""

    def __init__(self, settings: Settings, ids: Ids, every: float = _LOOK_EVERY) -> None:
        """``ids``: those of the topics now. ``every``: seconds between two looks."""
        self._settings = settings
        self._every = every
        self._log = structlog.get_logger("penstock.topics")
        self._stopped = threading.Event()
        self.ids = ids
        """The ids of the topics that there are, by name. Another one is put in its place, nothing in it is changed."""
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
                told, self.ids, _ = _look(_admin(self._settings), self._settings)
            except KafkaException:
                continue  # that it is away is told elsewhere
            problem = told or None
            if problem != self.problem:
                self.problem = problem
                if problem is None:
                    self._log.info("the topics are as they must be again")
                else:
                    self._log.error("the topics are not as they must be", reason=problem)


def _admin(settings: Settings) -> Any:
    return _ADMIN.AdminClient(admin_properties(settings) | {"log_level": 0})


def _look(admin: Any, settings: Settings) -> _Look:
    metadata = admin.list_topics(timeout=_TIMEOUT)
    wanted = wanted_topics(settings, len(metadata.brokers))
    known = {name for name, topic in metadata.topics.items() if topic.partitions}  # one that comes or goes has none
    there = [topic.name for topic in wanted if topic.name in known]
    missing = [topic.name for topic in wanted if topic.name not in known]
    described: dict[str, Any] = admin.describe_topics(TopicCollection(there), request_timeout=_TIMEOUT) if there else {}
    ids: dict[str, str] = {name: str(_answer(answer).topic_id) for name, answer in described.items()}
    if missing:
        return _Look(f"topics are missing: {', '.join(missing)}; make them with: penstock topics apply", ids)
    resources = [_ADMIN.ConfigResource(_ADMIN.ResourceType.TOPIC, name) for name in there]
    present: dict[str, PresentTopic] = {}
    for resource, answer in admin.describe_configs(resources, request_timeout=_TIMEOUT).items():
        partitions = metadata.topics[resource.name].partitions
        config = {key: entry.value for key, entry in _answer(answer).items()}
        present[resource.name] = PresentTopic(len(partitions), min(len(p.replicas) for p in partitions.values()), config)
    broken = [difference for difference in differences(wanted, present) if difference.breaks_contract]
    if broken:
        return _Look(f"{'; '.join(map(str, broken))}. Mend with: penstock topics apply", ids, breaks=True)
    return _Look("", ids)


def _answer(asked: Future[Any]) -> Any:
    """What Kafka said. Raises KafkaException where it says nothing: the client's own end of waiting may be late for that."""
    try:
        return asked.result(_TIMEOUT)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001  # its public name
