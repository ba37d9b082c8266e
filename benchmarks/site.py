"""Owns the services of a benchmark, and the backlogs in them: real Kafka, real Redis, the works' models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.processes import last_line
from benchmarks.works import Work
from penstock.local import ApacheKafka, LocalRedis
from penstock_schemas.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Site:
    """Services that are up, and a folder."""

    folder: Path
    kafka: ApacheKafka
    store: LocalRedis

    @property
    def services(self) -> dict[str, int]:
        return {"Redis": self.store.pid, "Kafka": self.kafka.pid}

    def model(self, name: str) -> Path:
        """Where a model's versions are; it is made when it is first asked for."""
        path = self.folder / "models" / name
        if not path.exists():
            argv = [sys.executable, "-m", "benchmarks.models", name, str(path / "1")]
            last_line(argv)
        return path

    def settings(self, fleet: str, work: Work, **more: Any) -> Settings:
        """A fleet that serves the work's model, everything else as it comes. ``more``: sections over these."""
        sections: dict[str, Any] = {
            "kafka": {"bootstrap_servers": self.kafka.bootstrap},
            "redis": {"url": self.store.url},
            # No spare: TensorFlow would be imported once more while the clock runs. "echo" is the echo's own topic.
            "worker": {"queues": ["", "echo"], "spare": "none"},
            "models": {work.model: {"path": str(self.model(work.model)), "max_batch_rows": work.max_batch}},
        }
        return load_settings(fleet=fleet, **{name: section | more.pop(name, {}) for name, section in sections.items()}, **more)


@contextmanager
def open_site(folder: Path) -> Generator[Site]:
    """Services for as long as the block lasts."""
    kafka, store = ApacheKafka(folder / "kafka"), LocalRedis(folder / "redis")
    kafka.start()
    try:
        store.start()
        try:
            yield Site(folder, kafka, store)
        finally:
            store.stop()
    finally:
        kafka.stop()


def fill(bootstrap: str, topic: str, work: Work, jobs: int, value: Callable[[int], bytes] | None = None) -> None:
    """Put ``jobs`` of the work's jobs into ``topic``. ``value``: the records by number, where they are not all the work's.

    Raises RuntimeError where Kafka does not take them.
    """
    usual = work.value()
    producer: Any = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    for number in range(jobs):
        key, headers = work.key_and_headers(number)
        while True:
            try:
                producer.produce(topic, value(number) if value else usual, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise RuntimeError("Kafka did not take the jobs within two minutes")
