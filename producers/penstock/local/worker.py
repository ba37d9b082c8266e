"""Owns a worker as a child process: what it is told, how it says that it is ready, how it ends."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from penstock.local.errors import LocalError
from penstock.local.guard import Guard
from penstock.local.process import ManagedProcess

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

READY_TIMEOUT: Final = 180.0
"""Longest that a worker may take to load TensorFlow and its models, in seconds."""


def worker_environment(settings: Settings, base: dict[str, str] | None = None) -> dict[str, str]:
    """The environment in which a worker has exactly these settings, whatever ``base`` (default: ours) says of them."""
    kept = {name: value for name, value in (os.environ if base is None else base).items() if not name.startswith("PENSTOCK_")}
    for key, value in settings.model_dump(mode="json").items():
        kept[f"PENSTOCK_{key.upper()}"] = value if isinstance(value, str) else orjson.dumps(value).decode()
    return kept


class LocalWorker:
    """``python -m penstock_worker`` as a child. ``log``: where its messages go; None: to our stderr."""

    def __init__(
        self,
        settings: Settings,
        *,
        folder: Path,
        log: Path | None = None,
        args: Sequence[str] = (),
        guard: Guard | None = None,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._log = log
        self._args = list(args)
        self._guard = guard
        self._process: ManagedProcess | None = None

    @property
    def process(self) -> ManagedProcess:
        """Raises LocalError before the first start."""
        if self._process is None:
            raise LocalError("the worker was not started")
        return self._process

    def start(self, timeout: float = READY_TIMEOUT) -> None:
        """Start it and wait until it serves: roles up, models warm. Raises LocalError after ``timeout`` seconds."""
        empty = self._folder / "worker.toml"  # or it would read the penstock.toml of the folder it runs in
        empty.write_text("")
        reader, writer = os.pipe()
        argv = [sys.executable, "-m", "penstock_worker", "--config", str(empty), "--ready-fd", str(writer), *self._args]
        environment = {**worker_environment(self._settings), "TMPDIR": str(self._folder)}
        self._process = ManagedProcess("the worker", argv, log=self._log, env=environment, pass_fds=[writer], guard=self._guard)
        try:
            try:
                self._process.start()
            finally:
                os.close(writer)
            self._wait(reader, timeout)
        except BaseException:
            self._process.kill()
            raise
        finally:
            os.close(reader)

    def stop(self) -> int | None:
        """SIGTERM: it drains, for at most its ``shutdown_grace``; its exit code."""
        return self.process.stop(self._settings.worker.shutdown_grace + 10)

    def kill(self) -> int | None:
        return self.process.kill()

    def _wait(self, reader: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        process = self.process
        while True:
            readable, _, _ = select.select([reader], [], [], min(0.5, max(0.0, deadline - time.monotonic())))
            if readable:
                if os.read(reader, 16).startswith(b"ready"):
                    return
                code = process.wait(10.0)
                raise LocalError(f"the worker ended with exit code {code} before it was ready{process.log_tail()}")
            if time.monotonic() > deadline:
                raise LocalError(f"the worker was not ready after {timeout:g} s{process.log_tail()}")
