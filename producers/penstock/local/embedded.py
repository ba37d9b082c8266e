"""Owns the embedded broker: librdkafka's own in-process one, for a laptop with neither Java nor Maven.

It keeps about 5 MB a partition and nothing across restarts, and drops what passes that without a word, so it cannot keep the
promise that every confirmed job gets an outcome (I1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from penstock.local.errors import LocalError

if TYPE_CHECKING:
    from confluent_kafka import Producer

EMBEDDED_PARTITIONS: Final = 4
"""Partitions of every topic of the embedded broker; topics are made on first use."""

EMBEDDED_WARNING: Final = (
    "the embedded broker keeps about 5 MB a partition and nothing across restarts: it cannot keep the promise that every "
    "confirmed job gets an outcome (I1). Use it for a look, not for work"
)


class EmbeddedKafka:
    """An in-process broker; it lives as long as this object is started."""

    def __init__(self) -> None:
        self._owner: Producer | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """HOST:PORT. Raises LocalError while it is not started."""
        if self._owner is None:
            raise LocalError("the embedded broker was not started, so it has no port yet")
        return self._bootstrap

    @property
    def is_running(self) -> bool:
        return self._owner is not None

    def start(self) -> None:
        """Start it. Raises LocalError where librdkafka cannot."""
        if self._owner is not None:
            return
        from confluent_kafka import KafkaException, Producer

        owner = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
        try:
            brokers = owner.list_topics(timeout=10).brokers.values()
        except KafkaException as error:
            raise LocalError(f"librdkafka's in-process broker does not answer: {error}") from error
        first = next(iter(brokers))
        self._owner, self._bootstrap = owner, f"{first.host}:{first.port}"

    def make_topics(self, names: Iterable[str]) -> None:
        """Make topics, each with EMBEDDED_PARTITIONS partitions. Raises LocalError where it is not started, or refuses."""
        if self._owner is None:
            raise LocalError("the embedded broker was not started, so it can have no topics")
        for name in names:
            # It has no CreateTopics; a producer's question for a topic that is not there makes it. A consumer's does not.
            topic = self._owner.list_topics(name, timeout=10).topics[name]
            if topic.error is not None:
                raise LocalError(f"the embedded broker made no topic {name}: {topic.error}")

    def stop(self) -> None:
        """Stop it; everything in it is lost."""
        self._owner = None

    kill = stop
