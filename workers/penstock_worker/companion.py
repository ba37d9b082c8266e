"""Owns a role that runs beside another one, as a process: started, watched, started again, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import structlog

_LONGEST_WAIT: Final = 30.0


class Companion:
    """``python -m penstock_worker`` with other arguments. It ends by itself when this process is gone."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._log = structlog.get_logger("penstock.worker")
        self._wait = 1.0
        self._due = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        # Its read end closes over there when ours is gone, however we went.
        self._life_read, self._life_write = os.pipe()
        self._ready_read, self._ready_write = os.pipe()
        os.set_blocking(self._ready_read, False)
        self.ready = False
        self.watch()

    def watch(self) -> None:
        """Start it if it is not running; to be called now and then."""
        if not self.ready and self._said_ready():
            self.ready = True
            self._wait = 1.0
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process = None
            self.ready = False
            self._due = time.monotonic() + self._wait
            self._log.error("role died; it is started again", arguments=self._arguments, status=status, in_s=self._wait)
            self._wait = min(_LONGEST_WAIT, self._wait * 2)
        if time.monotonic() >= self._due:
            descriptors = ["--life-fd", str(self._life_read), "--ready-fd", str(self._ready_write)]
            # A session of its own: Ctrl-C reaches this process alone, which then ends the other one last.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock_worker", *self._arguments, *descriptors],
                pass_fds=(self._life_read, self._ready_write),
                start_new_session=True,
            )

    def stop(self, timeout: float) -> None:
        """Ask it to end, and kill it after ``timeout`` seconds."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for descriptor in (self._life_read, self._life_write, self._ready_read, self._ready_write):
            os.close(descriptor)

    def _said_ready(self) -> bool:
        try:
            return bool(os.read(self._ready_read, 16))
        except BlockingIOError:
            return False
