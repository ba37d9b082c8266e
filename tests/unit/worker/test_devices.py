"""Which devices a worker runs engines on."""

from __future__ import annotations

import subprocess

import pytest

from penstock_schemas.settings import WorkerSettings
from penstock_worker import devices
from penstock_worker.devices import NoGpuError, find_devices


def found(monkeypatch: pytest.MonkeyPatch, wanted: str, gpus: int, visible: str | None = None) -> list[str]:
    monkeypatch.setattr(devices, "_count_gpus", lambda: gpus)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    return find_devices(WorkerSettings.model_validate({"devices": wanted}))


@pytest.mark.parametrize(
    ("wanted", "gpus", "visible", "expected"),
    [
        ("auto", 0, None, ["cpu"]),
        ("auto", 2, None, ["gpu:0", "gpu:1"]),
        ("gpu", 1, None, ["gpu:0"]),
        ("cpu", 2, None, ["cpu"]),
        ("auto", 2, "3,5", ["gpu:3", "gpu:5"]),
        ("auto", 1, "GPU-8f2e,GPU-77aa", ["gpu:GPU-8f2e"]),
    ],
)
def test_every_gpu_that_is_seen_gets_an_engine_else_the_cpu(
    monkeypatch: pytest.MonkeyPatch, wanted: str, gpus: int, visible: str | None, expected: list[str]
) -> None:
    assert found(monkeypatch, wanted, gpus, visible) == expected


def test_asking_for_gpus_that_are_not_there_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoGpuError, match="TensorFlow sees none: install"):
        found(monkeypatch, "gpu", 0)


def test_the_library_is_not_loaded_where_there_is_no_device_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDevices:
        def __init__(self, path: str) -> None:
            assert path == "/dev"

        def glob(self, pattern: str) -> list[str]:
            return []

    def never(*args: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(devices, "Path", NoDevices)
    monkeypatch.setattr(subprocess, "run", never)
    assert find_devices(WorkerSettings()) == ["cpu"]
