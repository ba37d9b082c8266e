"""Owns a fleet of real processes that things are done to: workers and projectors, started, killed, frozen, woken, drained."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

import psutil
from tests.faults.deck import DEADLY, Fault
from tests.faults.schedule import Step, is_worker

from penstock.local.guard import Guard
from penstock.local.process import ManagedProcess
from penstock.local.worker import worker_environment

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

BACKENDS: Final = Path(__file__).parents[1] / "backends"
ROOT: Final = Path(__file__).parents[2]
STEPS: Final = Path(__file__).parent / "steps"
"""On the path of a member that is to die at a step: Python imports its sitecustomize.py before anything else."""
_MARK: Final = "FAULTS_FLEET"
_SHOWN: Final = 2000
_ENDS_WITHIN: Final = 20.0


class Services(Protocol):
    """The services of one fleet's own, to which things are done."""

    @property
    def starting(self) -> bool:
        """Whether one of them is on its way back."""
        ...

    def reached_by(self, member: str, settings: Settings) -> Settings:
        """``settings`` with the addresses that ``member`` is to use."""
        ...

    def do(self, step: Step) -> None:
        """Do one step of a schedule that is about them."""
        ...


class Member:
    """One process of the fleet: a worker (role work) or a projector (role project).

    ``dies_at``: the step of a job's way at which it kills itself, if it is to, in the words of ``steps/sitecustomize.py``.
    """

    def __init__(self, name: str, folder: Path, environment: dict[str, str], guard: Guard) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.drained_at: float | None = None
        self.killed = False
        self.dies_at = environment.get("FAULTS_STEP")
        self._ready = False
        self._right_codes: tuple[int | None, ...] = (None, 0)
        empty = folder / "none.toml"
        empty.write_text("")
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        role = "work" if is_worker(name) else "project"
        argv = [sys.executable, "-m", "penstock_worker", "--config", str(empty), "--roles", role, "--ready-fd", str(writer)]
        self.process = ManagedProcess(name, argv, log=self.log, env=environment, pass_fds=[writer], guard=guard)
        try:
            self.process.start()
        finally:
            os.close(writer)

    @property
    def ready(self) -> bool:
        """Whether it has said that it serves."""
        with contextlib.suppress(BlockingIOError):
            self._ready = self._ready or bool(os.read(self._reader, 16))
        return self._ready

    @property
    def expected(self) -> bool:
        """Whether it should be running."""
        return not self.killed and self.drained_at is None

    def fell(self) -> bool:
        """Whether it has died at its step; from then on that counts as a kill."""
        if self.dies_at is not None and self.expected and self.process.exit_code == -signal.SIGKILL:
            self.killed = True
            self.process.kill()  # what it has left behind
            return True
        return False

    def drain(self) -> None:
        """SIGTERM; its end is waited for elsewhere. Before it serves, it may not have come to listen to signals."""
        self._right_codes = (None, 0) if self.ready else (None, 0, -signal.SIGTERM)
        self.drained_at = time.monotonic()
        self.process.signal(signal.SIGTERM)

    def engines(self) -> list[psutil.Process]:
        """Its engine children."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in children if "penstock_worker.engine" in child.cmdline()]
        except psutil.NoSuchProcess:
            return []

    def trouble(self, grace: float) -> Iterator[str]:
        """What it did that nobody asked for; ``grace`` is how long a drain may take."""
        code = self.process.exit_code
        fell = self.dies_at is not None and code == -signal.SIGKILL
        if self.expected and code is not None and not fell:
            yield f"{self.name} ended by itself with exit status {code}{self.process.log_tail()}"
        if self.drained_at is not None and code is None and time.monotonic() - self.drained_at > grace:
            yield f"{self.name} still runs {grace:g} s after SIGTERM{self.process.log_tail()}"
        if self.drained_at is not None and code not in self._right_codes:
            yield f"{self.name} ended with exit status {code} after SIGTERM{self.process.log_tail()}"
        _, raised, traceback = self.log.read_text(errors="replace").partition("Traceback (most recent call last)")
        if raised:
            yield f"{self.name} raised: {traceback[:_SHOWN]}"

    def close(self) -> None:
        self.process.kill()
        os.close(self._reader)


class Fleet:
    """The processes of one fleet. A context manager: whatever happens, nothing of it is left at the end.

    ``settings`` are what every member gets. ``site`` are this fleet's own services; None where no fault is to touch them.
    ``mutant`` is a folder with another ``penstock_worker`` to run instead of the real one (default: what ``FAULTS_MUTANT``
    names, to see that a test fails). ``say`` is told of each fault.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        site: Services | None = None,
        mutant: str | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.say = say
        self._folder = folder
        self._site = site
        mutant = mutant or os.environ.get("FAULTS_MUTANT")
        self._paths = [*([mutant] if mutant else []), BACKENDS, ROOT]
        self._guard = Guard()
        self._mark = secrets.token_hex(8)
        self.deaths = 0
        """Engines and workers that were killed, frozen, or cut off from Kafka."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.close()
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._guard.close()

    def add(self, name: str, *, dies_at: str | None = None, logs: Path | None = None) -> Member:
        """Start a member; it gets ready on its own time. ``logs``: the folder of its log."""
        settings = self.settings if self._site is None else self._site.reached_by(name, self.settings)
        environment = {**worker_environment(settings), "TMPDIR": str(self._folder), _MARK: self._mark}
        paths = self._paths if dies_at is None else [STEPS, *self._paths]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        if dies_at is not None:
            environment["FAULTS_STEP"] = dies_at
        self.members[name] = Member(name, logs or self._folder, environment, self._guard)
        return self.members[name]

    def do(self, step: Step) -> None:
        """Do one step of a schedule."""
        self.say(str(step))
        self.deaths += step.fault in DEADLY
        match step.fault:
            case Fault.ADD | Fault.ADD_WORKER:
                self.add(step.target)
            case Fault.KILL_ENGINE:
                self.kill_engines(step.target)
            case Fault.KILL_WORKER | Fault.KILL_PROJECTOR:
                self.members[step.target].killed = True
                self.members[step.target].process.kill()
            case Fault.DRAIN_WORKER | Fault.DRAIN_PROJECTOR:
                self.members[step.target].drain()
            case Fault.FREEZE_WORKER | Fault.DOZE_WORKER | Fault.FREEZE_PROJECTOR:
                self.members[step.target].process.signal(signal.SIGSTOP)
            case Fault.WAKE:
                self.members[step.target].process.signal(signal.SIGCONT)
            case _:
                if self._site is None:
                    raise AssertionError("this fleet has no services of its own to do things to")
                self._site.do(step)

    def starting(self) -> bool:
        """Whether a service is on its way back."""
        return self._site is not None and self._site.starting

    def kill_engines(self, name: str) -> None:
        """SIGKILL for the engines of a worker that lives on; a spare among them, too."""
        for engine in self.members[name].engines():
            with contextlib.suppress(psutil.NoSuchProcess):
                engine.kill()
                self.deaths += 1

    def drain_all(self) -> list[str]:
        """End all in good order, and say who did not, or left a process of its own behind."""
        for member in self.members.values():
            if member.expected:
                member.drain()
        grace = self.settings.worker.shutdown_grace + self.settings.worker.revoke_grace + _ENDS_WITHIN
        for member in self.members.values():
            member.process.wait(grace)
        deadline = time.monotonic() + _ENDS_WITHIN
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.troubles() + [f"process {process.pid} was left behind: {_command(process)}" for process in left]

    def troubles(self) -> list[str]:
        """What members did that nobody asked them for."""
        worker = self.settings.worker
        grace = worker.shutdown_grace + worker.revoke_grace + _ENDS_WITHIN
        return [trouble for member in self.members.values() for trouble in member.trouble(grace)]

    def _processes(self) -> list[psutil.Process]:
        """Every live process that was started by this fleet's members, by a mark in its environment."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return "?"
