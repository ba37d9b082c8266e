"""The parts of local services that need no service."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.local import choice, jars
from penstock.local.choice import choose_kafka
from penstock.local.errors import LocalMissing
from penstock.local.services import LocalServices
from penstock.local.worker import worker_environment
from penstock_schemas.settings import load_settings


def test_apache_kafka_is_taken_where_nothing_stands_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "why_not", lambda: None)
    assert choose_kafka(None).kind == "apache"
    assert choose_kafka("embedded").kind == "embedded"


def test_without_java_the_embedded_broker_is_taken_and_the_reason_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "why_not", lambda: "there is no Java; install it: …")
    assert choose_kafka(None) == choice.KafkaChoice("embedded", "there is no Java; install it: …")
    with pytest.raises(LocalMissing, match="--kafka apache cannot be: there is no Java"):
        choose_kafka("apache")


def test_what_is_missing_is_named_with_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "apt-get install default-jre-headless" in (jars.why_not() or "")
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_452\"' >&2\n")
    (tmp_path / "java").chmod(0o755)
    assert "Java 17 or newer" in (jars.why_not() or "")
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    assert "apt-get install maven" in (jars.why_not() or "")
    jars.jars_folder().mkdir(parents=True)
    assert jars.why_not() is None


def test_the_cache_folder_follows_the_xdg_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.cache_folder() == tmp_path / "penstock"
    assert jars.jars_folder().name.startswith("kafka-4.3.1-")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert jars.cache_folder() == Path.home() / ".cache" / "penstock"


def test_a_worker_gets_exactly_the_settings_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = load_settings(
        fleet="f",
        models={"a b": {"path": tmp_path, "max_batch_rows": 8}},
        kafka={"properties": {"sasl.username": "me"}},
        topics={"replication": None},
        worker={"queues": ["", "slow"]},
    )
    environment = worker_environment(given, {"PATH": "p", "PENSTOCK_WORKER__WINDOW": "9"})
    assert environment["PATH"] == "p"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PENSTOCK_WORKER__WINDOW", raising=False)
    assert load_settings() == given


def test_the_embedded_broker_cannot_be_given_a_port(tmp_path: Path) -> None:
    from penstock.local import Guard, LocalError

    with Guard() as guard, pytest.raises(LocalError, match="leave --kafka-port out"):
        LocalServices(tmp_path, choice.KafkaChoice("embedded", ""), kafka_port=9092, guard=guard, say=print)
