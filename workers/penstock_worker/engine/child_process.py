"""Owns one spawned engine process as its parent sees it: its pipe, its life, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings
    from penstock_worker.engine.slots import Slots

Stage = Literal["serving", "imported", "loaded"]


class ChildProcess:
    """A child that goes as far as ``stage`` by itself. Nothing here blocks but :meth:`wait`."""

    def __init__(self, settings: Settings, device: str, deliveries: Slots, answers: Slots, stage: Stage) -> None:
        ours, theirs = socket.socketpair()
        arguments = [theirs.fileno(), deliveries.fd, answers.fd]
        arguments += [deliveries.count, deliveries.size, answers.count, answers.size]
        environment = dict(os.environ)
        environment["CUDA_VISIBLE_DEVICES"] = "-1" if device == "cpu" else device.removeprefix("gpu:")
        with theirs:
            # A session of its own: Ctrl-C reaches the parent alone, which then drains.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock_worker.engine", *map(str, arguments), device, stage],
                pass_fds=(theirs.fileno(), deliveries.fd, answers.fd),
                env=environment,
                start_new_session=True,
            )
        self.pipe = Connection(ours.detach())
        self.tell(settings.model_dump_json().encode())

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, token: bytes) -> None:
        """Send a token; to a dead child, nothing."""
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(token)

    def has_ended(self) -> bool:
        """Whether it has. What it said before can still be read."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill it and whatever it has started; stopped ones, too."""
        # Its number cannot be another's yet: until it is waited for it is its own, and then its heirs'.
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """Its own exit status, within ``timeout`` seconds; then it, and what it has started, is killed. Closes the pipe."""
        self.pipe.close()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            self.kill()
            self._process.wait()
