"""Owns the way every fault test goes: a fleet, its life, the verdict, and the trials that are recorded of it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.backends.numpy_models import write_model
from tests.faults.checker import Verdict
from tests.faults.harness import ROOT
from tests.faults.jobs import ATTEMPTS, MODEL, Job
from tests.faults.life import PATIENCE, Life
from tests.faults.trials import Trial, commit, record

from penstock_schemas.settings import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.harness import Fleet
    from tests.faults.schedule import Step

SOAK: Final = os.environ.get("SOAK") == "1"
_RUN: Final = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(4)
"""The same in all processes of one run: they must choose the same tests."""
SEED: Final = int(os.environ.get("FAULTS_SEED") or int(_RUN[:8], 16) % 10**6)
ROUNDS: Final = 10 if SOAK else 1
"""How often one life goes through a fault that is not dealt from a deck."""
_IN_TURN: Final = (
    *("bombs", "cluster", "damage", "full disk", "jobs submitted twice", "logs", "rough jobs", "random kills", "takeover"),
    "topics",
    "whole workers",
)
_TURN: Final = Random(SEED).choice(_IN_TURN)
_ALL: Final = SOAK or os.environ.get("FAULTS_ALL") == "1"
TENSORFLOW: Final = "tests.backends.tensorflow_double"
SESSION: Final = 3.0
"""How long the groups wait for a silent member, in seconds: as little as stays above a busy machine's own gaps."""
QUIET_WITHIN: Final = 1.5 * PATIENCE
SLOWLY: Final = 3 * PATIENCE
"""How long TensorFlow's engines may take for what others do within PATIENCE: each start of one takes seconds of a core."""


def in_turn(name: str) -> pytest.MarkDecorator:
    """Mark a test that takes its turn with others in ``make test``, by the seed."""
    assert name in _IN_TURN
    why = f"its seed chose {_TURN!r} of {len(_IN_TURN)} subjects; FAULTS_ALL=1 runs all, and make soak at full size"
    return pytest.mark.skipif(not _ALL and name != _TURN, reason=why)


def earlier_than(end: float) -> bool:
    """Whether it is earlier than ``end``, in monotonic seconds."""
    return time.monotonic() < end


def options(folder: Path, *, tensorflow: bool = False, **kafka: Any) -> dict[str, Any]:
    """Settings under which much is in flight at any moment: small deliveries, small batches, a model that takes its time.

    ``tensorflow``: with its engines, not those of numpy. ``kafka``: further settings of that section.

    Retries come soon, so that a short life holds many; and no model rests because all that is left of a life are jobs that
    fail.
    """
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    model: dict[str, Any] = {"path": str(folder / "model"), "max_batch_rows": 16, "timeout": 4.0}
    worker: dict[str, Any] = {"devices": "cpu", "window": 2, "delivery_records": 96, "revoke_grace": 2.0}
    if tensorflow:
        save = [sys.executable, "-m", TENSORFLOW, str(folder / "model" / "1")]
        subprocess.run(save, check=True, capture_output=True, cwd=ROOT)
        model["transform"] = f"{TENSORFLOW}:Misbehaving"
        model["timeout"] = 8.0
        worker["engine_memory"] = 700 * MIB
    else:
        write_model(folder / "model", batch_seconds=0.04, marks=marks)
        worker |= {"backend": "numpy_models", "engine_memory": 96 * MIB}
    return {
        "kafka": {"session_timeout": SESSION} | kafka,
        "topics": {"job_partitions": 6, "outcome_partitions": 4},
        "retry": {"tiers": ["1s", "2s"], "attempts": ATTEMPTS, "model_grace": 2.5, "breaker_failures": 10**6},
        "worker": worker,
        "models": {MODEL: model},
    }


def live(
    fleet: Fleet,
    members: Iterable[str],
    steps: Sequence[Step],
    *,
    jobs: Iterator[Job],
    count: int,
    seconds: float,
    seed: int = SEED,
    quiet_within: float = QUIET_WITHIN,
    besides: Callable[[], None] = lambda: None,
) -> Verdict:
    """One fleet's life, from ``members`` that are there first to a drain of all; fails where a promise was broken.

    ``besides`` is called when the jobs are submitted and the steps done, before all has to come to rest.
    """
    fleet.say(f"seed {seed}: {count} jobs over {seconds:g} s")
    with Life(fleet, seed) as life:
        life.begin(members)
        life.live(jobs, count, steps, seconds)
        besides()
        return conclude(fleet, life, seed=seed, quiet_within=quiet_within)


def conclude(fleet: Fleet, life: Life, *, seed: int = SEED, quiet_within: float = QUIET_WITHIN) -> Verdict:
    """Let a life come to rest and end, judge it, and record its trials; fails where a promise was broken."""
    left = life.wait_quiet(quiet_within)
    troubles = fleet.drain_all()
    verdict = Verdict(life.evidence())
    report = "\n".join([f"seed {seed}: {verdict}", *life.refused[:5], *troubles])
    if left is not None:
        report += f"\nnot at rest within {quiet_within:g} s: {left}"
    clean = left is None and not verdict.breaches and not troubles and not life.refused
    fleet.say(report)
    tested = commit()
    breaches = tuple(f"{breach.promise}: {breach.what}" for breach in verdict.breaches[:20])
    record(
        Trial(trial.fault, seed, tested, clean, verdict.accepted, trial.seconds, breaches, len(verdict.paid))
        for trial in life.recoveries.trials
    )
    assert clean, report
    return verdict
