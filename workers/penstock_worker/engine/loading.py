"""Owns bringing declared models up: load and warm each one, and wait for those that are not there yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from penstock_worker.engine.backend import Backend, ModelUnreadableError, open_backend
from penstock_worker.engine.catalog import Catalog, Route, Version, find_versions, load_version
from penstock_worker.engine.runner import warm_up

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

_RETRY_SECONDS = 2.0


def load_catalog(
    settings: Settings, device: str, *, waiting: Callable[[str], None], pause: Callable[[float], None] = time.sleep
) -> Catalog:
    """Load and warm up every declared model.

    A model that is not there yet is no failure: ``waiting`` is told the reason each time it changes, and it is tried again
    until it loads. ``pause`` passes the seconds between two tries.
    """
    backend = open_backend(settings.worker.backend, device, settings.worker.cpu_threads)
    loaded: dict[str, dict[str, Version]] = {}
    told = ""
    while len(loaded) < len(settings.models):
        reasons: list[str] = []
        for name in settings.models:
            if name not in loaded:
                try:
                    loaded[name] = load_model(backend, name, settings)
                except ModelUnreadableError as error:
                    reasons.append(str(error))
        if reasons:
            if (reason := "; ".join(reasons)) != told:
                waiting(reason)
                told = reason
            pause(_RETRY_SECONDS)
    return Catalog({name: loaded[name] for name in settings.models})


def load_model(backend: Backend, name: str, settings: Settings) -> dict[str, Version]:
    """Load and warm up the versions of one declared model. Raises :class:`ModelUnreadableError`."""
    log = structlog.get_logger("penstock.engine")
    declared = settings.models[name]
    versions: dict[str, Version] = {}
    budget = settings.worker.delivery_bytes * settings.worker.window
    for number, path in find_versions(name, declared).items():
        begin = time.perf_counter()
        version = load_version(backend, name, number, Path(path), declared)
        load_seconds = time.perf_counter() - begin
        signature = version.signatures[declared.signature]
        warm_seconds = warm_up(Route(version, declared.signature, signature, version.policy(declared.signature)), budget)
        log.info("model loaded", model=name, version=number, load_s=round(load_seconds, 2), warm_up_s=round(warm_seconds, 2))
        versions[number] = version
    return versions
