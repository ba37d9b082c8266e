"""Owns the record of trials: a line of JSON for each fault that a fleet was put through, in the file ``FAULTS_RECORD``."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_CODE: Final = ("schemas", "producers", "workers", "tests/faults", "tests/backends")


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault in one fleet's life. ``clean``: that life broke no promise. ``recovery``: seconds, None where it has no end."""

    fault: str
    seed: int
    commit: str
    clean: bool
    jobs: int
    recovery: float | None = None
    breaches: tuple[str, ...] = ()
    paid: int = 0
    """Jobs of that life that did nothing and had a try too many, as we ended the engine or worker that ran them alone."""


def record(trials: Iterable[Trial], path: str | None = None) -> None:
    """Append ``trials`` to the file ``path`` (default: what ``FAULTS_RECORD`` names); nowhere where there is none."""
    path = path or os.environ.get("FAULTS_RECORD")
    if path:
        with Path(path).open("a") as file:
            file.writelines(json.dumps(asdict(trial)) + "\n" for trial in trials)


def read(path: Path) -> list[Trial]:
    """The trials in ``path``, in order."""
    lines = path.read_text().splitlines() if path.is_file() else []
    found = [json.loads(line) for line in lines]
    return [Trial(**(one | {"breaches": tuple(one["breaches"])})) for one in found]


def commit() -> str:
    """The commit that is being tested, with ``+`` where files that matter differ from it; empty where there is no git."""
    if named := os.environ.get("FAULTS_COMMIT"):
        return named
    head = _git("rev-parse", "--short=10", "HEAD")
    return f"{head}+" if head and _git("status", "--porcelain", "--", *_CODE) else head


def valid(trials: Iterable[Trial], tested: str, paths: Sequence[str]) -> list[Trial]:
    """Those of ``trials`` that tell of the commit ``tested``: run on it, or on one that does not differ in any of ``paths``."""
    return [trial for trial in trials if trial.commit == tested or _unchanged(trial.commit, tested, tuple(paths))]


def lacking(wanted: Sequence[str], count: int, trials: Iterable[Trial]) -> Counter[str]:
    """How many clean trials of each of ``wanted`` are missing to ``count``."""
    done = Counter(trial.fault for trial in trials if trial.clean)
    return Counter({fault: count - done[fault] for fault in wanted if done[fault] < count})


@cache
def _unchanged(since: str, tested: str, paths: tuple[str, ...]) -> bool:
    """Whether git knows both commits, and no difference between them in ``paths``."""
    if not since or not tested or "+" in since + tested:
        return False
    return _run("diff", "--quiet", since, tested, "--", *paths).returncode == 0


def _git(*arguments: str) -> str:
    return _run(*arguments).stdout.strip()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["git", *arguments]
    try:
        return subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", "")
