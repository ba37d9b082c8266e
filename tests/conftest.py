"""Owns the fixtures that give tests real services, each test a fleet of its own.

A service that is missing skips its tests with the line that installs it, and fails them where ``CI=true``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support import KafkaFactory, MakeTopics, RedisFactory, SettingsFactory, missing, running_kafka

from penstock.local import ApacheKafka, LocalMissing, LocalRedis
from penstock.topics import KafkaUnreachable, TopicManager, TopicRefused
from penstock_schemas.settings import Settings, load_settings


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One Apache Kafka for the whole session. A test that stops or kills its broker makes one with ``own_kafka``."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRedis]:
    """One Redis for the whole session. A test that stops, kills or flushes its server makes one with ``own_redis``."""
    folder = tmp_path_factory.mktemp("redis")
    server = LocalRedis(folder)
    try:
        server.start()
    except LocalMissing as error:
        missing(str(error))
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's trained model, a folder with version 1; ``held-out.npz`` beside it has `images` and `labels`."""
    folder = tmp_path_factory.mktemp("digits")
    script = Path(__file__).parents[1] / "examples" / "digits" / "train.py"
    argv = [sys.executable, str(script), str(folder / "digits" / "1"), "--held-out", str(folder / "held-out.npz")]
    trained = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    return folder / "digits"


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaFactory]:
    """``own_kafka(config={...})``: a started Apache Kafka for this test alone."""
    made: list[ApacheKafka] = []

    def make(**options: Any) -> ApacheKafka:
        server = ApacheKafka(tmp_path / f"kafka-{len(made)}", quick=True, **options)
        made.append(server)
        try:
            server.start()
        except LocalMissing as error:
            missing(str(error))
        return server

    yield make
    for number, server in enumerate(made):
        server.kill()
        shutil.rmtree(tmp_path / f"kafka-{number}", ignore_errors=True)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisFactory]:
    """``own_redis(args=["--appendonly", "yes"])``: a started Redis for this test alone."""
    made: list[LocalRedis] = []

    def make(**options: Any) -> LocalRedis:
        server = LocalRedis(tmp_path / f"redis-{len(made)}", **options)
        made.append(server)
        try:
            server.start()
        except LocalMissing as error:
            missing(str(error))
        return server

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def fleet_name() -> str:
    """A fleet's name that no other test has."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def settings(
    kafka: ApacheKafka, redis_server: LocalRedis, fleet_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SettingsFactory:
    """A factory of settings that point at the session's services with this test's own fleet and few partitions.

    Only what the test gives counts: neither the caller's environment nor a ``penstock.toml`` does.
    """
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)
    empty = tmp_path / "no-settings.toml"
    empty.write_text("")
    defaults: dict[str, Any] = {
        "fleet": fleet_name,
        "kafka": {"bootstrap_servers": kafka.bootstrap, "session_timeout": 6.0},
        "redis": {"url": redis_server.url},
        "topics": {"job_partitions": 4, "outcome_partitions": 4},
        "worker": {"cpu_threads": 1, "shutdown_grace": 15.0},
    }

    def make(**sections: Any) -> Settings:
        return load_settings(empty, **_merged(defaults, sections))

    return make


@pytest.fixture
def make_topics(kafka: ApacheKafka) -> Iterator[MakeTopics]:
    """``make_topics(settings)`` makes the fleet's topics; those on the session's Kafka are deleted after the test."""
    made: list[TopicManager] = []

    def make(settings: Settings) -> None:
        manager = TopicManager(settings)
        if settings.kafka.bootstrap_servers == kafka.bootstrap:  # a test's own broker goes with all that it has
            made.append(manager)
        left = manager.apply()
        assert not left, [str(one) for one in left]

    yield make
    for manager in made:
        with contextlib.suppress(KafkaUnreachable, TopicRefused):  # the test may have ended its broker
            manager.delete()


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = type(value) is dict and type(merged.get(key)) is dict
        merged[key] = _merged(merged[key], cast("dict[str, Any]", value)) if both else value
    return merged
