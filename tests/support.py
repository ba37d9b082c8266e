"""Owns what tests share that is no fixture: the fixtures' types, and waiting for a condition."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

from penstock.local import ApacheKafka, LocalMissing, LocalRedis
from penstock_schemas.settings import Settings


class SettingsFactory(Protocol):
    """``settings(worker={"window": 2})``: settings of this test's fleet; sections given are merged over the defaults."""

    def __call__(self, **sections: Any) -> Settings: ...


class KafkaFactory(Protocol):
    """``own_kafka(config={...})``: a started Apache Kafka for one test alone."""

    def __call__(self, **options: Any) -> ApacheKafka: ...


class RedisFactory(Protocol):
    """``own_redis(args=["--appendonly", "yes"])``: a started Redis for one test alone."""

    def __call__(self, **options: Any) -> LocalRedis: ...


MakeTopics = Callable[[Settings], None]


def missing(reason: str) -> NoReturn:
    """Skip the test on a laptop, fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def running_kafka(folder: Path, **options: Any) -> Generator[ApacheKafka]:
    """A started Apache Kafka, for as long as this is open; ``folder`` goes with it."""
    server = ApacheKafka(folder, quick=True, **options)
    try:
        server.start()
    except LocalMissing as error:
        missing(str(error))
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def eventually(holds: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait until ``holds()`` is true; fail naming ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout:g} s still not: {what}")
        time.sleep(0.02)


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """A process that is there and does nothing: its connections stay open and are not answered."""
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: stands_still(pid), "all its threads have stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stands_still(pid: int) -> bool:
    """Whether the system has stopped all threads of a process: on a busy machine some still run a little after the signal."""
    return all(status.read_text().rpartition(")")[2].split()[0] == "T" for status in Path(f"/proc/{pid}/task").glob("*/stat"))
