"""Owns an engine process from its first line until it serves: what it is to its system, a spare's wait, its models.

The process is spawned by a worker's parent with three descriptors: a socket for tokens, and the two shared memories for
deliveries and for answers. A spare stops half way, and goes on when the engine that it stands in for has died.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NoReturn

from penstock_schemas.jobs import JobDecoder
from penstock_schemas.settings import Settings
from penstock_worker.engine import wire
from penstock_worker.engine.child import Engine
from penstock_worker.engine.loading import load_catalog
from penstock_worker.engine.reader import Reader
from penstock_worker.engine.slots import Slots
from penstock_worker.engine.wire import Kind
from penstock_worker.limits import limits_of
from penstock_worker.logs import configure_logs

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal to get when the parent dies."""

_BEAT_EVERY: Final = 5.0


def main(argv: list[str]) -> None:
    """Run an engine: ``SOCKET DELIVERIES ANSWERS COUNT SIZE COUNT SIZE DEVICE STAGE``.

    Three descriptors, the number and size of slots of either kind, the device, and how far to go before :attr:`Kind.GO`:
    ``imported``, ``loaded``, or ``serving`` (all the way). The settings come on the socket.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when to end
    _die_with_parent()
    _be_first_in_line()
    socket_fd, deliveries_fd, answers_fd, *sizes = map(int, argv[:7])
    device, stage = argv[7:9]
    for descriptor in (socket_fd, deliveries_fd, answers_fd):
        os.set_inheritable(descriptor, False)  # a process that a user's transform starts would keep them open
    parent = _Parent(Connection(socket_fd), goes=stage == "serving")
    settings = parent.settings()
    configure_logs(settings.worker, "engine")
    deliveries = Slots(deliveries_fd, sizes[0], sizes[1])
    answers = Slots(answers_fd, sizes[2], sizes[3])
    if stage == "imported":
        importlib.import_module(settings.worker.backend)
        parent.await_go()
    catalog = load_catalog(settings, device, waiting=parent.say_waiting, pause=parent.pause)
    engine = Engine(parent.pipe, deliveries, answers, settings, Reader(JobDecoder(limits_of(settings)), catalog))
    # Warm-up left a heap that never goes away: without this, each collection would walk all of TensorFlow's objects.
    gc.collect()
    gc.freeze()
    # The reader must not wait out the default 5 ms while the model thread holds the interpreter between two calls.
    sys.setswitchinterval(0.0005)
    parent.await_go()
    parent.stop_beating()
    models = {name: list(versions) for name, versions in catalog.models.items()}
    parent.say_ready(models)
    engine.run()


class _Parent:
    """The parent as an engine sees it that does not serve yet: it may say go, or stop, or be gone."""

    def __init__(self, pipe: Connection, *, goes: bool) -> None:
        self.pipe = pipe
        self._goes = goes
        self._sending = threading.Lock()
        self._served = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._beating.start()

    def say_waiting(self, reason: str) -> None:
        """A declared model cannot be loaded yet."""
        self._say(wire.token(Kind.WAITING, body=reason.encode()))

    def stop_beating(self) -> None:
        """From now on the engine itself speaks."""
        self._served.set()
        self._beating.join()

    def pause(self, seconds: float) -> None:
        """Wait up to ``seconds``; ends the process with the parent."""
        if self.pipe.poll(seconds):
            self._hear()

    def await_go(self) -> None:
        """Wait for :attr:`Kind.GO`, unless it has come; ends the process with the parent."""
        if not self._goes:
            self._say(wire.token(Kind.SPARE))
        while not self._goes:
            self._hear()

    def settings(self) -> Settings:
        """The worker's, which come first."""
        try:
            return Settings.model_validate_json(self.pipe.recv_bytes())
        except (EOFError, OSError):
            _end()

    def say_ready(self, models: dict[str, list[str]]) -> None:
        """These versions of these models are served from now on."""
        self._say(wire.token(Kind.READY, body=json.dumps(models).encode()))

    def _say(self, token: bytes) -> None:
        try:
            with self._sending:
                self.pipe.send_bytes(token)
        except OSError:
            _end()

    def _beat(self) -> None:
        """Loading may take minutes; a process that is stopped, or stuck, is told from one that is at it."""
        while not self._served.wait(_BEAT_EVERY):
            self._say(wire.token(Kind.ALIVE))

    def _hear(self) -> None:
        try:
            kind = wire.read_token(self.pipe.recv_bytes())[0]
        except (EOFError, OSError):
            _end()
        if kind is not Kind.GO:  # STOP: nothing else comes before READY
            _end()
        self._goes = True


def _end() -> NoReturn:
    os._exit(0)


def _die_with_parent() -> None:
    """Ask the system to kill this process with its parent: one that hangs, or is stopped, would not notice a closed pipe."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    except (OSError, AttributeError):
        pass  # there is no such thing here; the reader sees the pipe close


def _be_first_in_line() -> None:
    """Where the system runs out of memory, its killer takes an engine, which is replaced, and not its worker."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        pass  # there is no such thing here, or it is not allowed
