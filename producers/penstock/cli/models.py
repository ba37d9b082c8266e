"""Owns `penstock models`, and asking the worker's package what the declared models are."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import orjson
import typer

from penstock.cli.common import Flags, read_settings
from penstock.cli.exits import CommandError, ExitCode
from penstock.local.worker import worker_environment
from penstock_schemas.settings import Settings

_TIMEOUT: Final = 300.0
_MOST_ELEMENTS: Final = 64
_EXAMPLE_VALUES: Final[dict[str, Any]] = {"BYTES": "text", "BOOL": True}


class TensorDescription(TypedDict):
    """One input or output; -1 in ``shape`` is free, None a free rank."""

    name: str
    datatype: str
    shape: list[int] | None


class SignatureDescription(TypedDict):
    """What goes in and what comes out."""

    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class VersionDescription(TypedDict):
    """One version and its signatures by name."""

    version: str
    signatures: dict[str, SignatureDescription]


class ModelDescription(TypedDict):
    """One declared model; ``error``: a sentence, where it does not load."""

    name: str
    versions: NotRequired[list[VersionDescription] | None]
    error: NotRequired[str | None]


def describe_models(settings: Settings) -> list[ModelDescription]:
    """What each declared model offers, as the worker that loads it says. Raises CommandError where it cannot be asked."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        empty = Path(folder) / "worker.toml"
        empty.write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "penstock_worker.engine.describe", "--config", str(empty)],
            env={**worker_environment(settings), "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    try:
        models: list[ModelDescription] = orjson.loads(done.stdout)["models"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-5:]
        install = 'is `pip install "penstock[worker]"` done?'
        raise CommandError(ExitCode.NOT_THERE, "\n  ".join([f"the models could not be asked ({install})", *said])) from error
    return models


def show_models(flags: Flags) -> None:
    """Print the declared models. Raises CommandError (3) where there are none, or one does not load."""
    settings = read_settings(flags)
    if not settings.models:
        raise CommandError(
            ExitCode.NOT_THERE, "no model is declared: give --model NAME=PATH, or [models.NAME] in penstock.toml"
        )
    models = describe_models(settings)
    for model in models:
        _show(model)
    broken = [model["name"] for model in models if model.get("error") is not None]
    if broken:
        raise CommandError(ExitCode.NOT_THERE, f"not loaded: {', '.join(broken)}")


def example_job(model: str, signature: str, inputs: list[TensorDescription]) -> str:
    """A request in JSON that fits the signature, in one line; free dimensions are 1."""
    tensors: list[dict[str, Any]] = []
    for one in inputs:
        shape = [1 if size < 0 else size for size in one["shape"] or [1]]
        count = 1
        for size in shape:
            count *= size
        value = _EXAMPLE_VALUES.get(one["datatype"], 0)
        tensors.append({"name": one["name"], "shape": shape, "datatype": one["datatype"], "data": [value] * count})
    job: dict[str, Any] = {"id": "example-1", "model_name": model, "inputs": tensors}
    if signature != "serving_default":
        job["parameters"] = {"signature_name": signature}
    return orjson.dumps(job).decode()


def _show(model: ModelDescription) -> None:
    if (trouble := model.get("error")) is not None:
        typer.echo(f"{model['name']}: does not load: {trouble}")
    for version in model.get("versions") or []:
        typer.echo(f"{model['name']}  version {version['version']}")
        for name, signature in version["signatures"].items():
            typer.echo(f"  signature {name}")
            for kind, tensors in (("input", signature["inputs"]), ("output", signature["outputs"])):
                for tensor in tensors:
                    typer.echo(f"    {kind:<6} {tensor['name']}  {tensor['datatype']} {tensor['shape']}")
            elements = sum(_elements(tensor["shape"]) for tensor in signature["inputs"])
            if elements <= _MOST_ELEMENTS * 4:
                typer.echo(f"    a job: {example_job(model['name'], name, signature['inputs'])}")
            else:
                typer.echo(
                    f"    a job has {elements:,} numbers: send it from a .npy file with `penstock submit {model['name']} …`"
                )


def _elements(shape: list[int] | None) -> int:
    count = 1
    for size in shape or []:
        count *= max(size, 1)
    return count
