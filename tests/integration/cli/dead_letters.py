"""Owns dead letters for the tests of `penstock dead`: written as a worker writes them, and what came of their redrives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from penstock.local.worker import worker_environment
from penstock_schemas.dead import Letter, build_gap_letter, build_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header
from penstock_schemas.jobs import encode_job
from penstock_schemas.retries import Tries
from penstock_schemas.settings import Settings

WRONG_VERSION = JobError(ErrorCode.UNKNOWN_VERSION, "model 'double' has no version '9'; it has '1'")
NOW_MS = time.time_ns() // 1_000_000


def job_body(version: str = "9", **more: Any) -> bytes:
    """A job with a raw tensor."""
    return encode_job({"x": np.ones((1, 4), np.float32)}, model_name="double", model_version=version, **more)


def letter(
    job_id: str,
    body: bytes | None = None,
    *,
    settings: Settings,
    offset: int = 0,
    attempt: int = 1,
    generation: int = 0,
    error: JobError = WRONG_VERSION,
    model: str | None = "double",
    original: Sequence[Header] = (),
    topic: str | None = None,
    max_bytes: int = 4 * 1024 * 1024,
    evidence: str = "",
) -> Letter:
    """A letter of the job ``job_id``, whose record was at ``offset`` of the first partition."""
    tries = Tries(f"{topic or settings.names.jobs()}-0-{offset}", NOW_MS, attempt, generation, original=original)
    tries = tries.failed(error, time_ms=NOW_MS, worker="w1", model=model, version=None)
    return build_letter(
        job_body() if body is None else body,
        max_bytes=max_bytes,
        job_id=job_id.encode(),
        tries=tries,
        error=error,
        worker="w1",
        time_ms=NOW_MS,
        evidence=evidence,
    )


def gap_letter(settings: Settings, first: int = 100, last: int = 149) -> Letter:
    return build_gap_letter(
        topic=settings.names.jobs(), partition=1, first=first, last=last, reason="deleted", worker="w1", time_ms=NOW_MS
    )


def write_letters(settings: Settings, letters: Iterable[Letter]) -> None:
    """Put letters into the dead-letter topic."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "linger.ms": 5, "acks": "all"})
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    for one in letters:
        while True:
            try:
                producer.produce(settings.names.dead, one.value, one.key, headers=[*one.headers], on_delivery=delivered)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0
    assert not failed
    producer.close()


def read_topic(settings: Settings, topic: str) -> list[Message]:
    """Every committed record of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": "tests",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        partitions = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found: list[Message] = []
        while partitions:
            message = consumer.poll(30)
            assert message is not None, f"{topic} does not come to its end"
            error = message.error()
            if error is None:
                found.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                partitions.discard(message.partition())
        return found
    finally:
        consumer.close()


def jobs_of(settings: Settings, topic: str | None = None) -> list[tuple[str, bytes, list[Header]]]:
    """Key, value and headers of every job."""
    found: list[tuple[str, bytes, list[Header]]] = []
    for message in read_topic(settings, topic or settings.names.jobs()):
        headers: Any = message.headers()
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        found.append((key.decode(), value, list(headers or ())))
    return found


def dead(settings: Settings, folder: Path, *arguments: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
    """`penstock dead …` with these settings; ``columns``: on a terminal so wide."""
    return subprocess.run(
        [sys.executable, "-m", "penstock", "dead", *arguments],
        cwd=folder,
        env=environment(settings) | ({} if columns is None else {"COLUMNS": str(columns)}),
        capture_output=True,
        text=True,
        check=False,
    )


def dead_bytes(settings: Settings, folder: Path, *arguments: str) -> bytes:
    """The bytes that `penstock dead …` writes to standard output."""
    argv = [sys.executable, "-m", "penstock", "dead", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment(settings), capture_output=True, check=True).stdout


def start_dead(settings: Settings, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The same, still running."""
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "dead", *arguments],
        cwd=folder,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(settings: Settings) -> dict[str, str]:
    return worker_environment(settings, {name: value for name, value in os.environ.items() if name != "COLUMNS"})
