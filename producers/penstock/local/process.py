"""Owns the starting and ending of one local child process: its own group, its log, no way to outlive its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from penstock.local.errors import LocalError
from penstock.local.guard import Guard

_WAIT_FOR_GO: Final = 'read -r go && exec "$@" </dev/null'


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether something accepts connections on ``port`` of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def descendants(pid: int) -> list[int]:
    """The processes that ``pid`` started, those that these started, and so on."""
    found, look = list[int](), [pid]
    while look:
        more = _children(look.pop())
        found += more
        look += more
    return found


def _children(pid: int) -> list[int]:
    if Path("/proc/self/task").is_dir():
        try:
            texts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
        except OSError:  # it ended meanwhile
            return []
        return [int(child) for text in texts for child in text.split()]
    listed = subprocess.run(["ps", "-A", "-o", "ppid=", "-o", "pid="], capture_output=True, check=False).stdout  # macOS
    pairs = [line.split() for line in listed.splitlines()]
    return [int(child) for parent, child in pairs if int(parent) == pid]


class ManagedProcess:
    """One child process in a session and group of its own.

    A shell holds the child back until the guard watches its group, so there is no moment at which an interrupt or a
    SIGKILL of this process leaves it behind. ``log``: where stdout and stderr go; None: both go to this process' stderr.
    ``guard``: one shared with other processes; None: one of its own.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        guard: Guard | None = None,
    ) -> None:
        self.name = name
        self._argv = list(argv)
        self._log = log
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._pass_fds = tuple(pass_fds)
        self._shared_guard = guard
        self._guard: Guard | None = None
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises LocalError where it already runs, FileNotFoundError where there is no shell."""
        if self.is_running:
            raise LocalError(f"{self.name} already runs, as process {self.pid}")
        self._guard = self._shared_guard or Guard()
        with self._log.open("ab") if self._log else contextlib.nullcontext() as log:
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _WAIT_FOR_GO, self.name, *self._argv],
                stdin=subprocess.PIPE,
                stdout=log if log is not None else 2,
                stderr=subprocess.STDOUT if log is not None else None,
                env=self._env,
                cwd=self._cwd,
                pass_fds=self._pass_fds,
                start_new_session=True,
            )
        self._guard.watch_group(self._popen.pid)
        if self._popen.stdin is None:
            raise AssertionError("stdin was asked to be a pipe")
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(b"go\n")
            self._popen.stdin.close()

    @property
    def pid(self) -> int:
        """The process id, which is its group's id too. Raises LocalError before the first start."""
        if self._popen is None:
            raise LocalError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it); None while it runs or was never started."""
        return self._popen.poll() if self._popen is not None else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait up to ``timeout`` seconds for its end; its exit code, or None where it still runs."""
        if self._popen is None:
            return None
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: int) -> None:
        """Send a signal to the process itself; nothing where it has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def stop(self, grace: float) -> int | None:
        """SIGTERM, up to ``grace`` seconds to end, then SIGKILL for what is left of its group; its exit code."""
        self.signal(signal.SIGTERM)
        self.wait(grace)
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL for it, its group and all that descends from it, and wait; its exit code. Doing so twice is fine."""
        popen, guard = self._popen, self._guard
        if popen is None or guard is None:
            return self.exit_code
        if popen.poll() is None:
            popen.send_signal(signal.SIGSTOP)  # so that it starts no other while we look
            for pid in descendants(popen.pid):
                _kill(os.kill, pid)
        _kill(os.killpg, popen.pid)
        popen.wait()
        guard.release_group(popen.pid)
        if guard is not self._shared_guard:
            guard.close()
        self._guard = None
        return popen.returncode

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until ``ready()``. Raises LocalError with the log's end where the process ends or the time runs out first."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.is_running:
                raise LocalError(f"{self.name} ended with exit code {self.exit_code} while it started{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LocalError(f"{self.name} was not ready after {timeout:g} s{self.log_tail()}")
            time.sleep(0.02)

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log as a text to append to a message; empty where there is none."""
        if self._log is None or not self._log.is_file():
            return ""
        tail = self._log.read_text(errors="replace").splitlines()[-lines:]
        return "; the end of its log:\n  " + "\n  ".join(tail) if tail else ""


def _kill(kill: Callable[[int, int], None], pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        kill(pid, signal.SIGKILL)
