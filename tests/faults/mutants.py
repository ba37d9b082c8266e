"""Owns broken workers: copies of ``penstock_worker`` in each of which one thing is wrong that a promise rests on.

A fault suite that finds nothing wrong with one of these would find nothing wrong with a worker that somebody breaks so.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORKER: Final = Path(__file__).parents[2] / "workers" / "penstock_worker"


@dataclass(frozen=True, slots=True)
class Change:
    """In ``file``, ``old``, which is there once, becomes ``new``."""

    file: str
    old: str
    new: str

    def of(self, text: str) -> str:
        """``text`` of the file, changed. Raises ValueError where it is not what this was written for."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} holds {found} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken worker. ``breaks``: promises of which at least one must be found broken."""

    name: str
    changes: tuple[Change, ...]
    breaks: frozenset[str]

    def make(self, folder: Path) -> Path:
        """Put it into ``folder``; returns that, for a path that Python imports from. Raises ValueError."""
        package = folder / WORKER.name
        shutil.copytree(WORKER, package, ignore=shutil.ignore_patterns("__pycache__"))
        for change in self.changes:
            file = package / change.file
            file.write_text(change.of(file.read_text()))
        return folder


MUTANTS: Final = (
    Mutant(
        "offsets are committed automatically",
        (
            Change("kafka.py", '"enable.auto.commit": False', '"enable.auto.commit": True, "auto.commit.interval.ms": 100'),
            Change("kafka.py", '"enable.auto.offset.store": False', '"enable.auto.offset.store": True'),
        ),
        frozenset({"I5"}),
    ),
    Mutant(
        "Redis is written without first-wins",
        (Change("project/apply.lua", "ARGV[at], 'NX', 'PXAT', expiry", "ARGV[at], 'PXAT', expiry"),),
        frozenset({"I2", "I3"}),
    ),
    Mutant(
        "offsets are committed ahead of what is settled",
        (
            Change("intake/ledger.py", "if entries and entries[0].unsettled <= 0:", "if entries:"),
            Change("intake/ledger.py", "while entries and entries[0].unsettled <= 0:", "while entries:"),
        ),
        frozenset({"I5"}),
    ),
    Mutant(
        "a job is settled when its outcome is handed to the client, not when the broker has it",
        (
            Change(
                "settle/outbox.py",
                "produce(topic, value, key, -1, callback)",
                "produce(topic, value, key, -1), callback(None, None)",
            ),
        ),
        frozenset({"I1", "I5"}),
    ),
    Mutant(
        "jobs that may have killed an engine are run together again",
        (
            Change(
                "engine/suspects.py",
                "return [delivery.part(suspects, Isolation.SOLO)]",
                "return [delivery.part(suspects)]",
            ),
        ),
        frozenset({"I1", "I4"}),
    ),
    Mutant(
        "the projector does not look at the position in Redis",
        (
            Change("project/projector.py", "if not track.synced or stored != track.expected:", "if not track.synced:"),
            Change("project/apply.lua", "    return -1\n", "    local _ = -1\n"),
        ),
        frozenset({"I2"}),
    ),
    Mutant(
        "retries are run before they are due",
        (Change("intake/gate.py", "if now_ms is not None and due_ms <= now_ms:", "if now_ms is not None:"),),
        frozenset({"retries"}),
    ),
    Mutant(
        "a try is not counted",
        (Change("settle/policy.py", "after = replace(tries, attempt=tries.attempt + 1)", "after = tries"),),
        frozenset({"I4"}),
    ),
)
