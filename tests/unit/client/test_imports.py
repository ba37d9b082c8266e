"""What importing the package loads, by module list."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"tensorflow", "keras", "typer", "rich", "pydantic", "pydantic_settings", "structlog", "sklearn", "prometheus_client"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code``, in a process of their own."""
    script = f"import sys\n{code}\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_the_package_itself_loads_next_to_nothing() -> None:
    loaded = loaded_by("import penstock")
    assert not loaded & (HEAVY | {"numpy", "orjson", "confluent_kafka", "redis", "penstock_worker"})


@pytest.mark.parametrize("code", ["from penstock import Client", "from penstock import AsyncClient, JobFailed, Outcome"])
def test_a_publisher_loads_nothing_of_a_worker_s(code: str) -> None:
    assert not loaded_by(code) & (HEAVY | {"penstock_worker"})


def test_making_a_client_loads_nothing_of_a_worker_s() -> None:
    code = "import penstock; penstock.Client('127.0.0.1:1', 'redis://127.0.0.1:1/0').close()"
    assert not loaded_by(code) & (HEAVY | {"penstock_worker"})


def test_the_fake_fleet_needs_neither_kafka_nor_redis() -> None:
    code = "from penstock.testing import FakeFleet; FakeFleet({'m': dict}).client().submit('m', {'x': [1]}).result(30)"
    assert not loaded_by(code) & (HEAVY | {"penstock_worker", "confluent_kafka", "redis"})


def test_the_pytest_plugin_imports_nothing_until_it_is_asked() -> None:
    loaded = loaded_by("import penstock.testing.plugin")
    assert not loaded & (HEAVY | {"numpy", "orjson", "confluent_kafka", "redis", "penstock_schemas"})


def test_all_public_names_are_there() -> None:
    import penstock
    import penstock.testing

    for package in (penstock, penstock.testing):
        for name in package.__all__:
            assert getattr(package, name).__name__ == name
        with pytest.raises(AttributeError, match="NoSuchName"):
            _ = package.NoSuchName
    assert "Client" in dir(penstock)


def test_the_error_tree_is_drawn_as_it_is() -> None:
    import penstock.errors

    assert penstock.errors.__doc__ is not None
    tree = penstock.errors.__doc__
    for name, error in vars(penstock.errors).items():
        if isinstance(error, type) and issubclass(error, penstock.errors.PenstockError):
            assert f" {name} " in tree or f" {name}\n" in tree, f"{name} is not drawn"
            assert name in penstock.__all__, f"{name} is not exported"
