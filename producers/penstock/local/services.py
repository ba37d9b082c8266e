"""Owns Kafka and Redis together, as `penstock up` and the demo start them: which, where, and with what settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.local.choice import KafkaChoice
from penstock.local.embedded import EMBEDDED_PARTITIONS, EMBEDDED_WARNING, EmbeddedKafka
from penstock.local.errors import LocalError
from penstock.local.guard import Guard
from penstock.local.kafka import ApacheKafka
from penstock.local.process import is_listening
from penstock.local.redis import LocalRedis, find_redis_server

KAFKA_PORT = 9092
REDIS_PORT = 6379


class LocalServices:
    """One Kafka and one Redis below ``folder``. ``say`` is told, in sentences, which was taken and why.

    A port that is None means the usual one, or any free one where that is in use. ``durable``: Redis keeps its results across
    restarts, as Kafka does.
    """

    def __init__(
        self,
        folder: Path,
        choice: KafkaChoice,
        *,
        kafka_port: int | None = 0,
        redis_port: int | None = 0,
        durable: bool = False,
        guard: Guard,
        say: Callable[[str], None],
    ) -> None:
        self._choice = choice
        self._say = say
        args = ["--appendonly", "yes"] if durable else []
        self.redis = LocalRedis(folder / "redis", port=_port(redis_port, REDIS_PORT), args=args, guard=guard)
        self.kafka: ApacheKafka | EmbeddedKafka
        if choice.kind == "apache":
            self.kafka = ApacheKafka(folder / "kafka", port=_port(kafka_port, KAFKA_PORT), guard=guard, say=say)
        else:
            if kafka_port:
                raise LocalError("the embedded broker chooses its own port: leave --kafka-port out, or use --kafka apache")
            self.kafka = EmbeddedKafka()

    @property
    def is_embedded(self) -> bool:
        return self._choice.kind == "embedded"

    def start(self) -> None:
        """Start both and wait until they answer. Raises LocalError, or LocalMissing with the line that installs it."""
        server, found = find_redis_server()
        self._say(f"Redis: {found} ({server})")
        self.redis.start()
        name = "the embedded broker" if self.is_embedded else "Apache Kafka"
        self._say(f"Kafka: {name} ({self._choice.why})")
        if self.is_embedded:
            self._say(f"note: {EMBEDDED_WARNING}")
        self.kafka.start()

    def flags(self) -> dict[str, Any]:
        """The settings that point at them, as flags for ``load_settings``."""
        kafka: dict[str, Any] = {"bootstrap_servers": self.kafka.bootstrap}
        flags: dict[str, Any] = {"kafka": kafka, "redis": {"url": self.redis.url}}
        if self.is_embedded:
            kafka["embedded"] = True
            flags["topics"] = {"job_partitions": EMBEDDED_PARTITIONS, "outcome_partitions": EMBEDDED_PARTITIONS}
        return flags

    def trouble(self) -> str | None:
        """Which of them ended by itself; None where both run."""
        if not self.redis.is_running:
            return f"Redis ended; its log is {self.redis.log_file}"
        if isinstance(self.kafka, ApacheKafka) and not self.kafka.is_running:
            return f"Kafka ended; its log is {self.kafka.log_file}"
        return None

    def stop(self) -> None:
        """Stop both in good order."""
        self.kafka.stop()
        self.redis.stop()


def _port(asked: int | None, usual: int) -> int:
    if asked is not None:
        return asked
    return 0 if is_listening(usual) else usual
