"""docker-compose.yml is valid by the Compose specification, and says what the fleet needs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator

from penstock_schemas.settings import load_settings

Document = dict[str, Any]


@pytest.fixture(scope="module")
def compose(root: Path) -> Document:
    document: Document = yaml.safe_load((root / "docker-compose.yml").read_text())
    return document


@pytest.fixture(scope="module")
def schema() -> Document:
    document: Document = json.loads((Path(__file__).parent / "data" / "compose_spec.json").read_text())
    return document


def faults(document: Document, schema: Document) -> list[str]:
    validator = Draft201909Validator(schema)  # what the schema's own $schema means, which writes http for https
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_the_file_is_valid_by_the_specification(compose: Document, schema: Document) -> None:
    assert faults(compose, schema) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("kafka", "imagee", "x"), ("worker", "depends_on", {"kafka": {"condition": "alive"}}), ("redis", "command", 7)],
)
def test_the_schema_would_find_a_fault(compose: Document, schema: Document, service: str, key: str, value: object) -> None:
    broken: Document = json.loads(json.dumps(compose))
    broken["services"][service][key] = value
    assert faults(broken, schema) != []


def test_names_in_the_file_refer_to_each_other(compose: Document, root: Path) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (root / source).exists(), f"{name} mounts {source}, which is not there"
            elif not source.startswith("$"):
                assert source in compose["volumes"], f"{name} mounts the undeclared volume {source}"
        if "build" in service:
            assert (root / service["build"]["dockerfile"]).is_file()


def test_kafka_is_the_version_that_the_tests_run_against(compose: Document, root: Path) -> None:
    pom = (root / "producers/penstock/local/kafka-pom.xml").read_text()
    version = re.search(r"<kafka\.version>(.+?)</kafka\.version>", pom)
    assert version is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_redis_evicts_nothing(compose: Document) -> None:
    command = compose["services"]["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_workers_can_be_scaled(compose: Document) -> None:
    worker = compose["services"]["worker"]
    assert "container_name" not in worker, "a fixed name can be given to one container only"
    assert "ports" not in worker, "a port of the host can be given to one container only"


def test_the_mounted_settings_are_settings(root: Path, compose: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_FLEET", raising=False)
    settings = load_settings(root / "deploy" / "penstock.toml")
    host, port = settings.kafka.bootstrap_servers.split(":")
    assert host in compose["services"]
    assert f":{port}" in compose["services"]["kafka"]["environment"]["KAFKA_LISTENERS"]
    grace = compose["services"]["worker"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > settings.worker.shutdown_grace, "a drain would be cut short"
    assert compose["services"]["worker"]["expose"] == [str(settings.worker.metrics_port)]
