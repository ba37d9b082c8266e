"""``python -m penstock_worker.engine.describe``: load the declared models once and print, as JSON, what they are.

For ``penstock models`` and ``penstock doctor``, which must not import TensorFlow themselves::

    {"models": [{"name": "digits", "error": null, "versions": [{"version": "1", "signatures":
      {"serving_default": {"batched": true, "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}],
                           "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]}}}]}]}

A free dimension is -1; a shape of unknown rank is null. Loading includes a warm-up call, so a model that is listed answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock_schemas.settings import Settings, load_settings
from penstock_worker.engine.backend import ModelUnreadableError, open_backend
from penstock_worker.engine.loading import load_model
from penstock_worker.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock_worker.engine.catalog import Version
    from penstock_worker.engine.signature import Port


def describe(settings: Settings) -> dict[str, Any]:
    """Every declared model: its versions and signatures, or why it cannot be loaded."""
    backend = open_backend(settings.worker.backend, "cpu", settings.worker.cpu_threads)
    models: list[dict[str, Any]] = []
    for name in settings.models:
        try:
            versions, error = _versions(load_model(backend, name, settings)), None
        except ModelUnreadableError as problem:
            versions, error = [], str(problem)
        models.append({"name": name, "error": error, "versions": versions})
    return {"models": models}


def _versions(loaded: Mapping[str, Version]) -> list[dict[str, Any]]:
    return [
        {
            "version": number,
            "signatures": {
                name: {
                    "batched": version.policy(name).batched,
                    "inputs": _ports(facade.inputs),
                    "outputs": _ports(facade.outputs),
                }
                for name, facade in version.signatures.items()
            },
        }
        for number, version in loaded.items()
    ]


def _ports(ports: Mapping[str, Port]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": port.datatype, "shape": None if port.shape is None else list(port.shape)}
        for name, port in ports.items()
    ]


def main(argv: list[str] | None = None) -> None:
    """Print the description to stdout; logs go to stderr."""
    parser = argparse.ArgumentParser(prog="penstock models")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    options = parser.parse_args(argv)
    flags: dict[str, Any] = {}
    for declared in options.model:
        name, _, path = declared.partition("=")
        flags.setdefault("models", {})[name] = {"path": path}
    settings = load_settings(options.config, **flags)
    configure_logs(settings.worker, "describe")
    print(json.dumps(describe(settings)))


if __name__ == "__main__":
    main(sys.argv[1:])
