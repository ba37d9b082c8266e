"""Owns the reading and making of a fleet's topics in a cluster; what they should be is :mod:`penstock_schemas.topics`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import admin as kafka_admin

from penstock_schemas.topics import Difference, PresentTopic, WantedTopic, differences, wanted_topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from penstock_schemas.settings import Settings

CALL_TIMEOUT: Final = 30.0
"""Longest that one call to the cluster may take, in seconds."""

_ADMIN: Final[Any] = kafka_admin
"""The library's module without its types: they export none of these names and leave what its futures give unknown."""


_SHOWS_WITHIN: Final = 1.0
"""How soon a change is expected to show before it is made again, in seconds."""


class KafkaUnreachable(Exception):
    """The cluster did not answer; the message says where it was looked for and what it said."""


class TopicRefused(Exception):
    """The cluster refused to make or change a topic; the message says which and why."""


class TopicManager:
    """Reads, makes and changes the topics of the fleet that ``settings`` describe. Raises KafkaUnreachable, TopicRefused."""

    def __init__(self, settings: Settings, *, timeout: float = CALL_TIMEOUT) -> None:
        self._settings = settings
        self._timeout = timeout
        servers = settings.kafka.bootstrap_servers
        self._admin: Any = _ADMIN.AdminClient({**settings.kafka.properties, "bootstrap.servers": servers, "log_level": 0})

    def brokers(self) -> int:
        """How many brokers the cluster has."""
        try:
            return len(self._admin.list_topics(timeout=self._timeout).brokers)
        except KafkaException as error:
            raise unreachable(self._settings, error) from error

    def wanted(self) -> list[WantedTopic]:
        """The fleet's topics as they should be on this cluster."""
        return wanted_topics(self._settings, self.brokers())

    def present(self, names: Iterable[str]) -> dict[str, PresentTopic]:
        """Those of the topics that exist, as they are."""
        try:
            metadata = self._admin.list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            raise unreachable(self._settings, error) from error
        there = {name: metadata[name] for name in names if name in metadata and metadata[name].error is None}
        configs = self._configs(there)
        return {
            name: PresentTopic(
                partitions=len(topic.partitions),
                replication=min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
                config=configs[name],
            )
            for name, topic in there.items()
            if name in configs
        }

    def differences(self) -> list[Difference]:
        """What is not as it should be; empty where all is well."""
        wanted = self.wanted()
        return differences(wanted, self.present(topic.name for topic in wanted))

    def apply(self, found: Iterable[Difference] | None = None) -> list[Difference]:
        """Mend ``found`` (default: whatever differs), wait until that shows, and return what still differs."""
        found = list(self.differences() if found is None else found)
        made = {one.topic for one in found if one.key == "topic"}
        asked = {(one.topic, one.key) for one in found}
        deadline = time.monotonic() + self._timeout
        self._mend(found)
        again = time.monotonic() + _SHOWS_WITHIN
        while True:  # brokers learn of a change a moment after it was confirmed
            left = self.differences()
            now = time.monotonic()
            open_ = [one for one in left if one.fixable and (one.topic in made or (one.topic, one.key) in asked)]
            if not open_ or now > deadline:
                return left
            if now > again:  # someone else made the topic as we did, and not as we wanted it
                self._mend(open_)
                again = now + _SHOWS_WITHIN
            time.sleep(0.05)

    def delete(self) -> None:
        """Delete the fleet's topics with all that is in them."""
        names = list(self.present(topic.name for topic in self.wanted()))
        if names:
            futures = self._admin.delete_topics(names, operation_timeout=self._timeout)
            self._wait("delete", futures, allowed=KafkaError.UNKNOWN_TOPIC_OR_PART)  # someone else has

    def _mend(self, found: list[Difference]) -> None:
        wanted = {topic.name: topic for topic in self.wanted()}
        self._create([wanted[one.topic] for one in found if one.key == "topic"])
        self._grow({one.topic: int(one.wanted) for one in found if one.key == "partitions" and one.fixable})
        self._configure([one for one in found if one.key in wanted[one.topic].config])

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [_ADMIN.ConfigResource(_ADMIN.ResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        found: dict[str, dict[str, str]] = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=self._timeout).items():
            try:
                entries: dict[str, Any] = future.result()
            except KafkaException as error:
                reason = error.args[0]
                if isinstance(reason, KafkaError) and reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue  # deleted since it was seen, or so new that not every broker knows of it
                raise TopicRefused(f"the settings of topic {resource.name} could not be read: {reason}") from error
            found[resource.name] = {key: str(entry.value) for key, entry in entries.items() if entry.value is not None}
        return found

    def _create(self, topics: list[WantedTopic]) -> None:
        new = [
            _ADMIN.NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=topic.replication,
                config=dict(topic.config),
            )
            for topic in topics
        ]
        if new:
            # Another start of the fleet may be making them at the same moment: that they exist then is what was wanted.
            futures = self._admin.create_topics(new, operation_timeout=self._timeout)
            self._wait("create", futures, allowed=KafkaError.TOPIC_ALREADY_EXISTS)

    def _grow(self, partitions: Mapping[str, int]) -> None:
        new = [_ADMIN.NewPartitions(name, count) for name, count in partitions.items()]
        if new:
            self._wait("add partitions to", self._admin.create_partitions(new, operation_timeout=self._timeout))

    def _configure(self, found: list[Difference]) -> None:
        resources = {
            name: _ADMIN.ConfigResource(
                _ADMIN.ResourceType.TOPIC,
                name,
                incremental_configs=[
                    _ADMIN.ConfigEntry(one.key, one.wanted, incremental_operation=_ADMIN.AlterConfigOpType.SET)
                    for one in found
                    if one.topic == name
                ],
            )
            for name in {one.topic for one in found}
        }
        if resources:
            futures = self._admin.incremental_alter_configs(list(resources.values()), request_timeout=self._timeout)
            self._wait("set up", {resource.name: future for resource, future in futures.items()})

    def _wait(self, verb: str, futures: Mapping[str, Any], allowed: int | None = None) -> None:
        for name, future in futures.items():
            try:
                future.result(timeout=self._timeout + 5)
            except KafkaException as error:
                reason = error.args[0]
                if not isinstance(reason, KafkaError) or reason.code() != allowed:
                    raise TopicRefused(f"the cluster did not {verb} topic {name}: {reason}") from error


def unreachable(settings: Settings, error: KafkaException) -> KafkaUnreachable:
    """What is said of a cluster that ``error`` came from."""
    servers = settings.kafka.bootstrap_servers
    return KafkaUnreachable(
        f"Kafka at {servers} does not answer ({error.args[0].str()}): is it running, and is that its address?"
        " (--bootstrap, or kafka.bootstrap_servers in penstock.toml)"
    )
