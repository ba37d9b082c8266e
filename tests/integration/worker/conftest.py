"""Owns the fleets of the worker's tests: one of real models for all of them, and small ones without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backends.numpy_models import write_model
from tests.integration.worker.fleet import HERE, Fleet, MakeFleet

from penstock.local import ApacheKafka
from penstock_schemas.settings import Settings


def make_settings(server: ApacheKafka, models: dict[str, Any], **sections: Any) -> Settings:
    """Settings of a new fleet that only the arguments decide; ``worker``, ``topics`` and ``kafka`` are added to."""
    worker = {"roles": ["work"], "cpu_threads": 1, "devices": "cpu", "log_format": "json", "shutdown_grace": 20.0}
    given: dict[str, Any] = {
        "fleet": f"t-{uuid.uuid4().hex[:12]}",
        "models": models,
        "kafka": {"bootstrap_servers": server.bootstrap, "session_timeout": 6.0, **sections.pop("kafka", {})},
        "topics": {"job_partitions": 2, "outcome_partitions": 2, **sections.pop("topics", {})},
        "worker": worker | sections.pop("worker", {}),
        **sections,
    }
    return Settings(**given)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The caller's environment does not reach these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the TensorFlow models that build_models.py tells of."""
    folder = tmp_path_factory.mktemp("models")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, HERE / "build_models.py", folder], check=True, env=environment, timeout=100)
    return folder


@pytest.fixture(scope="session")
def real(kafka: ApacheKafka, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose one worker serves every model by TensorFlow. Its tests only submit and read."""
    declared: dict[str, dict[str, Any]] = {name: {"path": str(models / name)} for name in ("rows", "text", "wide", "old")}
    declared["rows"] |= {"max_batch_rows": 8, "allowed_batch_sizes": [1, 4, 8]}
    declared["two"] = {"path": str(models / "two.keras")}
    declared["latest"] = {"path": str(models / "rows"), "versions": "latest"}
    declared["picky"] = {"path": str(models / "rows" / "1"), "transform": "user_transforms:Picky"}
    declared["words"] = {"path": str(models / "rows" / "1"), "transform": "user_transforms:Words"}
    # A version that is not served is waited for, unless there is no grace.
    fleet = Fleet(make_settings(kafka, declared, retry={"model_grace": 0.0}), tmp_path_factory.mktemp("real"))
    try:
        fleet.start().ready()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def make_fleet(kafka: ApacheKafka, tmp_path: Path) -> Iterator[MakeFleet]:
    """``make_fleet(batch_seconds=0.1, worker={...})``: a fleet whose one model m needs no TensorFlow.

    ``timeout`` is the model's; ``marks`` and ``fails`` as in the tests' backend.
    """
    made: list[Fleet] = []

    def make(
        *,
        batch_seconds: float = 0.0,
        model: bool = True,
        marks: Path | None = None,
        fails: Path | None = None,
        timeout: float = 60.0,
        **sections: Any,
    ) -> Fleet:
        path = tmp_path / f"m{len(made)}"
        if model:
            write_model(path, batch_seconds=batch_seconds, marks=marks, fails=fails)
        sections["worker"] = {"backend": "numpy_models", **sections.get("worker", {})}
        declared = {"m": {"path": str(path), "timeout": timeout}}
        fleet = Fleet(make_settings(kafka, declared, **sections), tmp_path / f"fleet-{len(made)}")
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        fleet.close()
