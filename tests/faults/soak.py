"""Owns how many lives a test has: one in ``make test``; in a soak, as many as it takes to try each fault often enough."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.run import SEED, SOAK, TRIALS
from tests.faults.trials import commit, lacking, read


def lives(faults: Sequence[str]) -> Iterator[int]:
    """Seeds, one a life. In a soak: until the file of trials has :data:`TRIALS` clean ones of each fault for this commit.

    A life that is not clean fails its test, and what it has shown is on record; started again, the test goes on from there.
    """
    yield SEED
    path = os.environ.get("FAULTS_RECORD")
    if not SOAK or path is None:
        return
    seed, tested = SEED, commit()
    while lacking(faults, TRIALS, (trial for trial in read(Path(path)) if trial.commit == tested)):
        seed += 1
        yield seed
