"""A job that fails in a real fleet is mended, redriven and succeeds: its readers see the newer generation, and only that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from confluent_kafka import Producer
from tests.backends.numpy_models import REFUSED, write_model
from tests.integration.cli.dead_letters import dead, job_body, read_topic
from tests.integration.worker.fleet import WorkerProcess
from tests.support import eventually

from penstock import Client, JobFailed
from penstock_schemas.outcomes import Outcome, decode_outcome
from penstock_schemas.settings import Settings

if TYPE_CHECKING:
    from tests.support import MakeTopics, SettingsFactory


@pytest.fixture
def fleet(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> Iterator[Settings]:
    """A fleet at work, with a model that needs no TensorFlow; a version that is not there fails at once."""
    path = write_model(tmp_path / "double")
    made = settings(
        models={"double": {"path": str(path)}},
        worker={"backend": "numpy_models", "devices": "cpu", "log_format": "json"},
        retry={"model_grace": 0.0},
    )
    make_topics(made)
    worker = WorkerProcess(made, tmp_path / "worker")
    try:
        worker.ready()
        yield made
    finally:
        worker.process.kill()


@pytest.fixture
def client(fleet: Settings) -> Iterator[Client]:
    with Client(fleet.kafka.bootstrap_servers, fleet.redis.url, fleet=fleet.fleet) as client:
        yield client


def letters(fleet: Settings, folder: Path, *flags: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dead(fleet, folder, "list", "--json", *flags).stdout.splitlines()]


def outcome(client: Client, job_id: str, generation: int) -> Outcome:
    """The outcome of this generation, once readers see it."""

    def found() -> Outcome | None:
        seen = client.poll(job_id)
        return seen if seen is not None and seen.generation == generation else None

    eventually(found, f"{job_id} has its outcome of generation {generation}", timeout=60)
    seen = found()
    assert seen is not None
    return seen


def test_a_mended_job_succeeds_as_the_next_generation(fleet: Settings, client: Client, tmp_path: Path) -> None:
    job = client.submit("double", {"x": np.full((1, 4), 3, np.float32)}, id="a1", version="9")
    with pytest.raises(JobFailed, match="unknown_version"):
        job.result(timeout=60)
    (letter,) = letters(fleet, tmp_path)
    assert (letter["id"], letter["code"], letter["model"], letter["generation"]) == ("a1", "unknown_version", "double", 0)
    sent = dead(fleet, tmp_path, "redrive", "--set", 'model_version="1"', "--yes")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    seen = outcome(client, "a1", 1)
    assert (seen.status, seen["y"].tolist(), seen.attempts) == ("succeeded", [[6.0] * 4], 1)
    records = [decode_outcome(message.value() or b"") for message in read_topic(fleet, fleet.names.outcomes)]
    assert [(one.generation, one.status) for one in records] == [(0, "failed"), (1, "succeeded")]


def test_a_job_that_fails_again_comes_back_with_its_history_until_the_guard_holds_it(
    fleet: Settings, client: Client, tmp_path: Path
) -> None:
    client.submit("double", {"x": np.full((1, 4), REFUSED, np.float32)}, id="b1", headers={"traceparent": "t"})
    assert outcome(client, "b1", 0).error_code == "model_error"
    for generation in (1, 2):
        sent = dead(fleet, tmp_path, "redrive", "--yes", "--max-generation", "2")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "1 letter redriven" in sent.stdout
        assert outcome(client, "b1", generation).error_code == "model_error"
    held = dead(fleet, tmp_path, "redrive", "--yes", "--max-generation", "2")
    assert (held.returncode, "1  come back too often" in held.stdout) == (3, True), held.stdout
    assert "b1: it failed in generation 2, and --max-generation is 2" in held.stdout
    assert [letter["generation"] for letter in letters(fleet, tmp_path)] == [0, 1, 2]
    assert len(letters(fleet, tmp_path, "--redriven")) == 2
    shown = dead(fleet, tmp_path, "show", letters(fleet, tmp_path)[2]["identity"])
    assert "traceparent: " in shown.stdout
    assert "penstock-redriven: " in shown.stdout


def test_a_job_without_an_id_keeps_the_one_it_was_given(fleet: Settings, client: Client, tmp_path: Path) -> None:
    producer = Producer({"bootstrap.servers": fleet.kafka.bootstrap_servers})
    producer.produce(fleet.names.jobs(), job_body(version="9"))
    assert producer.flush(30) == 0
    producer.close()
    eventually(lambda: letters(fleet, tmp_path), "the letter is there", timeout=60)
    (letter,) = letters(fleet, tmp_path)
    assert letter["id"].startswith("~")
    assert dead(fleet, tmp_path, "redrive", "--yes", "--set", 'model_version="1"').returncode == 0
    assert outcome(client, letter["id"], 1).status == "succeeded"
