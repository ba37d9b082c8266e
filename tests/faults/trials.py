"""Owns the record of trials, the file ``FAULTS_RECORD``: a line of JSON for each fleet's life, with what it went through.

For each commit there is one more, with the objects that git has for what tests concern. So a record tells of code, not of
commits: it can be read in a clone without history, and after a rebase.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_CODE: Final = ("schemas", "producers", "workers", "tests/faults", "tests/backends")
_ID_CHARACTERS: Final = 12


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


@dataclass(slots=True)
class Record:
    """What a file holds: trials in order, and by commit and path the object that git had there."""

    trials: list[Trial] = field(default_factory=list)
    code: dict[str, dict[str, str]] = field(default_factory=dict)


def record(trials: Iterable[Trial], path: str | None = None) -> None:
    """Append ``trials`` to the file ``path`` (default: what ``FAULTS_RECORD`` names); nowhere where there is none."""
    path = path or os.environ.get("FAULTS_RECORD")
    if not path:
        return
    lives = defaultdict[str, list[tuple[str, float | None]]](list)
    for trial in trials:
        life = asdict(trial)
        recovery = None if trial.recovery is None else round(trial.recovery, 2)
        del life["fault"], life["recovery"]
        lives[json.dumps(life)].append((trial.fault, recovery))
    _append(Path(path), (json.loads(life) | {"faults": faults} for life, faults in lives.items()))


def pin(path: Path, tested: str, concerned: Iterable[str]) -> None:
    """Append the objects that git has for the paths ``concerned`` in the commit ``tested``, unless they are in the file."""
    if tested not in read(path).code and (objects := _objects(tested, tuple(sorted(set(concerned))))):
        _append(path, [{"commit": tested, "code": objects}])


def read(path: Path) -> Record:
    """What is in ``path``; nothing where there is no such file."""
    found = Record()
    for line in path.read_text().splitlines() if path.is_file() else ():
        life = json.loads(line)
        if "code" in life:
            found.code[life["commit"]] = life["code"]
            continue
        life["breaches"] = tuple(life["breaches"])
        found.trials += [Trial(fault=fault, recovery=recovery, **life) for fault, recovery in life.pop("faults")]
    return found


def commit() -> str:
    """The commit that is being tested, with ``+`` where files that matter differ from it; empty where there is no git."""
    if named := os.environ.get("FAULTS_COMMIT"):
        return named
    head = _git("rev-parse", "--short=10", "HEAD")
    return f"{head}+" if head and _git("status", "--porcelain", "--", *_CODE) else head


def valid(found: Record, tested: str, paths: Sequence[str]) -> list[Trial]:
    """Those trials that tell of the commit ``tested``: run on it, or on one that does not differ in any of ``paths``."""
    objects = _objects(tested, tuple(paths))
    same = {made for made, code in found.code.items() if _same(code, objects, paths)}
    return [trial for trial in found.trials if trial.commit == tested or trial.commit in same]


def lacking(wanted: Sequence[str], count: int, trials: Iterable[Trial]) -> Counter[str]:
    """How many clean trials of each of ``wanted`` are missing to ``count``."""
    done = Counter(trial.fault for trial in trials if trial.clean)
    return Counter({fault: count - done[fault] for fault in wanted if done[fault] < count})


def _same(one: Mapping[str, str], other: Mapping[str, str], paths: Iterable[str]) -> bool:
    """Whether both know the same object for each path."""
    return all(path in one and one[path] == other.get(path) for path in paths)


@cache
def _objects(tested: str, paths: tuple[str, ...]) -> Mapping[str, str]:
    """git's object for each of ``paths`` in a commit; none where git does not know it, or it is not what was tested."""
    if not tested or "+" in tested:
        return {}
    found = _git("cat-file", "--batch-check=%(objectname)", said="".join(f"{tested}:{path}\n" for path in paths)).splitlines()
    return {path: one[:_ID_CHARACTERS] for path, one in zip(paths, found, strict=bool(found)) if not one.endswith(" missing")}


def _append(path: Path, lines: Iterable[object]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def _git(*arguments: str, said: str = "") -> str:
    argv = ["git", *arguments]
    try:
        return subprocess.run(argv, cwd=_ROOT, input=said, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
