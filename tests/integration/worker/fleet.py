"""Owns a fleet as the worker's tests see it: topics, jobs in, outcomes and letters out, and workers to start and end."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka import admin as kafka_admin
from tests.support import eventually

from penstock.local.process import ManagedProcess
from penstock.local.worker import worker_environment
from penstock.topics import TopicManager
from penstock_schemas.headers import Header
from penstock_schemas.jobs import encode_job
from penstock_schemas.outcomes import Outcome, decode_outcome
from penstock_schemas.settings import Settings

ADMIN: Any = kafka_admin  # the library's types export none of its names
HERE = Path(__file__).parent
BACKENDS = HERE.parents[1] / "backends"

MakeFleet = Callable[..., "Fleet"]
"""``make_fleet(batch_seconds=0.1, worker={...})``: a fleet whose one model m needs no TensorFlow."""


class WorkerProcess:
    """``python -m penstock_worker``, and what it logs."""

    def __init__(self, settings: Settings, folder: Path, path: Sequence[Path] = ()) -> None:
        """``path``: further folders that its Python looks into first."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "worker.toml").write_text("")
        self._log = folder / "worker.log"
        folders = os.pathsep.join(map(str, [*path, BACKENDS, HERE]))
        environment = worker_environment(settings) | {"PYTHONPATH": folders, "TMPDIR": str(folder)}
        argv = [sys.executable, "-m", "penstock_worker", "--config", str(folder / "worker.toml")]
        self.process = ManagedProcess("the worker", argv, log=self._log, env=environment)
        self.process.start()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of one event."""
        logged = [
            json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{") and line.endswith("}")
        ]
        return [line for line in logged if line["event"] == event]

    def until(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until it has logged ``event`` that often."""
        eventually(
            lambda: len(self.lines(event)) >= times or not self.process.is_running, f"{event!r} in the worker's log", timeout=90
        )
        lines = self.lines(event)
        assert len(lines) >= times, f"the worker ended with {self.process.exit_code}{self.process.log_tail()}"
        return lines

    def ready(self) -> WorkerProcess:
        self.until("ready")
        return self

    def terminate(self) -> None:
        self.process.signal(signal.SIGTERM)

    def ended(self) -> int | None:
        """Wait for its end; its exit code."""
        return self.process.wait(60)

    def drain(self) -> int | None:
        self.terminate()
        return self.ended()


class Tail:
    """Everything that one topic holds, as it comes."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"tail-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        self.records: list[Message] = []

    def until(self, enough: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Read on until ``enough()``."""

        def holds() -> bool:
            for message in self._consumer.consume(1000, 0.05):
                if message.error() is not None:
                    raise KafkaException(message.error())
                self.records.append(message)
            return enough()

        eventually(holds, what, timeout)

    def close(self) -> None:
        self._consumer.close()


class Fleet:
    """One fleet on the tests' Kafka. :meth:`start` its workers; :meth:`close` ends them and deletes its topics."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._folder = folder
        self._topics = TopicManager(settings)
        assert not self._topics.apply()
        servers = settings.kafka.bootstrap_servers
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
        self._outcomes = Tail(servers, settings.names.outcomes)
        self._letters = Tail(servers, settings.names.dead)
        self._workers: list[WorkerProcess] = []
        self._asker = Consumer({"bootstrap.servers": servers, "group.id": settings.names.workers_group})
        self.admin = ADMIN.AdminClient({"bootstrap.servers": servers})

    def start(self, settings: Settings | None = None, path: Sequence[Path] = ()) -> WorkerProcess:
        """Start a worker; wait for it with :meth:`WorkerProcess.ready`."""
        worker = WorkerProcess(settings or self.settings, self._folder / f"worker-{len(self._workers)}", path)
        self._workers.append(worker)
        return worker

    def publish(
        self,
        value: bytes | None,
        key: str | None = None,
        *,
        headers: list[tuple[str, bytes | None]] | None = None,
        queue: str = "",
        partition: int = -1,
    ) -> None:
        """Queue one record; :meth:`flush` waits for the broker."""
        topic = self.settings.names.jobs(queue)
        more: dict[str, Any] = {"headers": headers} if headers else {}
        self._producer.produce(topic, value, key, partition, **more)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def outcomes(self, *ids: str) -> list[Outcome]:
        """The first outcome of each of these jobs, in order."""
        wanted = set(ids)
        self._outcomes.until(
            lambda: wanted <= {str(_key(m)) for m in self._outcomes.records}, f"outcomes of {', '.join(ids)[:500]}"
        )
        first: dict[str, Outcome] = {}
        for message in self._outcomes.records:
            first.setdefault(str(_key(message)), decode_outcome(message.value() or b""))
        return [first[job] for job in ids]

    def answered(self) -> list[str | None]:
        """The keys of all outcomes read so far, repeats included."""
        return [_key(message) for message in self._outcomes.records]

    def answered_now(self) -> list[str | None]:
        """The keys of all outcomes that are there."""
        self._outcomes.until(lambda: True, "one look")
        return self.answered()

    def outcome(self, job: str) -> Outcome:
        return self.outcomes(job)[0]

    def letters(self, *ids: str) -> dict[str, Message]:
        """The letters of these jobs, by id: exactly one each."""
        self._letters.until(lambda: set(ids) <= {str(_key(m)) for m in self._letters.records}, f"letters of {', '.join(ids)}")
        found = {str(_key(message)): message for message in self._letters.records if _key(message) in ids}
        assert sum(_key(message) in ids for message in self._letters.records) == len(found)
        return found

    def gaps(self, count: int) -> list[str]:
        """The ranges of the letters about records that were deleted unread."""

        def ranges() -> list[str]:
            headers = [dict(message.headers() or []) for message in self._letters.records]
            return [value.decode() for own in headers if isinstance(value := own.get("penstock-gap"), bytes)]

        self._letters.until(lambda: len(ranges()) >= count, f"{count} gaps")
        return ranges()

    def ends(self, queue: str = "") -> dict[int, int]:
        """Where each partition of the jobs topic ends."""
        return {
            place.partition: self._asker.get_watermark_offsets(place, timeout=30, cached=False)[1]
            for place in self._places(queue)
        }

    def committed(self, queue: str = "") -> dict[int, int]:
        """What the workers' group has committed, by partition; 0 where nothing is."""
        return {place.partition: max(0, place.offset) for place in self._asker.committed(self._places(queue), timeout=30)}

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        self._outcomes.close()
        self._letters.close()
        self._asker.close()
        self._topics.delete()

    def _places(self, queue: str) -> list[TopicPartition]:
        topic = self.settings.names.jobs(queue)
        return [TopicPartition(topic, partition) for partition in range(self.settings.topics.job_partitions)]


def job(value: float, rows: int = 1, **request: Any) -> bytes:
    """A job for the models whose input is x FP32 [-1, 4]."""
    return encode_job({"x": np.full((rows, 4), value, np.float32)}, **request)


def names(prefix: str, count: Iterable[int]) -> list[str]:
    return [f"{prefix}-{number}" for number in count]


def letter_headers(letter: Message) -> list[Header]:
    """A letter's headers as they are in Kafka."""
    headers: Any = letter.headers() or []
    return list(headers)


def _key(message: Message) -> str | None:
    key = message.key()
    return key.decode() if isinstance(key, bytes) else key
