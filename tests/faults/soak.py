"""Owns the soak: ``python -m tests.faults.soak RECORD`` runs each test until each of its faults has enough clean trials.

Every run is one fleet's life of its own seed, in a process of its own, and what it showed is appended to the file RECORD; so
it may be ended at any time, and started again it goes on from there. Trials count for the commit that they were run on, and
for later ones that have changed nothing of what the test concerns.
``FAULTS_TRIALS`` says how many are enough, ``FAULTS_ONLY`` which tests are meant (parts of their names, with commas). Several
soaks of different tests may share a record.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Final

from tests.faults.subjects import SUBJECTS, Subject
from tests.faults.trials import Trial, commit, lacking, pin, read, record, valid

FOLDER: Final = Path(__file__).parent
USUAL: Final = 60
"""Clean trials of each fault; so many in a row show with 95 % confidence that fewer than 5 % fail."""
GIVE_UP: Final = 5
"""So many lives of one test in a row that were not clean, or tried nothing, and it is left for the others."""


def main(arguments: list[str]) -> int:
    """Run what is lacking; 1 where something stays so, or was not clean on the way."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.faults.soak RECORD\n")
        return 2
    path = Path(arguments[0]).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    tested, only = commit(), os.environ.get("FAULTS_ONLY", "").split(",")
    subjects = [subject for subject in SUBJECTS if any(part in subject.test for part in only)]
    pin(path, tested, (concerned for subject in SUBJECTS for concerned in subject.paths))
    say(f"trials of {tested} are recorded in {path}; ended and started again, this goes on where it was")
    minutes = sum(_minutes(subject, path, tested) for subject in subjects)
    say(f"about {minutes / 60:.1f} hours to go, on two cores that do nothing else")
    for subject in subjects:
        _exhaust(subject, path, tested)
    return _conclude(subjects, path, tested)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _exhaust(subject: Subject, path: Path, tested: str) -> None:
    """Live lives of one test until all its faults have been tried often enough, or too many went wrong."""
    in_vain = 0
    while (left := _lacking(subject, path, tested)) and in_vain < GIVE_UP:
        seed = 1 + secrets.randbelow(10**9)
        say(f"== {subject.test}, seed {seed}: {left} trials of {len(subject.faults)} faults are lacking")
        began = time.monotonic()
        code = _live(subject, path, tested, seed)
        if code and not any(trial.seed == seed for trial in read(path).trials):
            record([Trial(f"no verdict: {subject.test}", seed, tested, clean=False, jobs=0)], str(path))
        seconds = time.monotonic() - began
        fewer = left - _lacking(subject, path, tested)
        in_vain = 0 if fewer > 0 and code == 0 else in_vain + 1
        lives = ceil((left - fewer) / fewer) if fewer > 0 else 0
        say(f"== {subject.test}: {'clean' if code == 0 else 'NOT CLEAN'} after {seconds:.0f} s; {_estimate(lives, seconds)}")


def _minutes(subject: Subject, path: Path, tested: str) -> float:
    """How long the rest of one test takes, going by how long all of it takes."""
    usual = (USUAL if subject.wanted is None else subject.wanted) * len(set(subject.faults))
    return subject.minutes * _lacking(subject, path, tested) / usual


def _estimate(lives: int, seconds: float) -> str:
    return f"about {lives} lives, {lives * seconds / 60:.0f} min, to go" if lives else "no more to go, or nobody knows"


def _live(subject: Subject, path: Path, tested: str, seed: int) -> int:
    """One run of the test; its exit status. A test that is skipped here tries nothing."""
    environment = {**os.environ, "SOAK": "1", "FAULTS_SEED": str(seed), "FAULTS_RECORD": str(path), "FAULTS_COMMIT": tested}
    argv = [sys.executable, "-m", "pytest", "-s", "-m", "soak", str(FOLDER / subject.test)]
    return subprocess.run(argv, env=environment, cwd=FOLDER.parents[1], check=False).returncode


def _lacking(subject: Subject, path: Path, tested: str) -> int:
    return _still_lacking(subject, path, tested).total()


def _still_lacking(subject: Subject, path: Path, tested: str) -> Counter[str]:
    return lacking(subject.faults, _wanted(subject), valid(read(path), tested, subject.paths))


def _wanted(subject: Subject) -> int:
    usual = int(os.environ.get("FAULTS_TRIALS") or USUAL)
    return usual if subject.wanted is None else subject.wanted


def _conclude(subjects: Sequence[Subject], path: Path, tested: str) -> int:
    """Say what is lacking and what was not clean."""
    left = {subject.test: lack for subject in subjects if (lack := _still_lacking(subject, path, tested))}
    trials = [trial for trial in read(path).trials if trial.commit == tested]
    unclean = [trial for trial in trials if not trial.clean]
    say(f"{len(trials)} trials, {len(unclean)} of them not clean")
    for test, lack in left.items():
        say("\n".join(f"lacking: {count} of {fault!r} ({test})" for fault, count in lack.items()))
    for seed, trial in {trial.seed: trial for trial in unclean}.items():
        say(f"not clean: seed {seed}: {_breach(trial)}")
    return 1 if left or unclean else 0


def _breach(trial: Trial) -> str:
    return trial.breaches[0] if trial.breaches else f"{trial.fault}: not at rest, or a process in trouble"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
