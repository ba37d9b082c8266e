"""Owns `penstock worker`: this process becomes the worker, so signals and exit codes are the worker's own."""

from __future__ import annotations

import importlib.util
import os
import sys

from penstock.cli.common import Flags, read_settings
from penstock.cli.exits import CommandError, ExitCode


def run_worker(flags: Flags, roles: str | None, metrics_port: int | None) -> None:
    """Check the configuration, then replace this process. Raises CommandError, or ValidationError, for a wrong one."""
    missing = [name for name in ("structlog", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        needs = 'what a worker needs is not installed: pip install "penstock[worker]", or "penstock[gpu]"'
        raise CommandError(ExitCode.WRONG_USE, f"{needs} (there is no {missing[0]})")
    worker: dict[str, object] = {}
    argv = [sys.executable, "-m", "penstock_worker"]
    if flags.config is not None:
        argv += ["--config", str(flags.config)]
    for text in flags.models:
        argv += ["--model", text]
    if roles is not None:
        worker["roles"] = roles.split(",")
        argv += ["--roles", roles]
    if metrics_port is not None:
        worker["metrics_port"] = metrics_port
        argv += ["--metrics-port", str(metrics_port)]
    read_settings(flags, worker=worker)
    sys.stdout.flush()
    os.execv(sys.executable, argv)  # noqa: S606 - our own interpreter and module, no shell
