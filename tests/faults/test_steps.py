"""A worker or projector may be killed at each step of a job's way: nothing is lost, and nothing contradicts itself.

Members are armed to kill themselves at a step (``steps/sitecustomize.py``) and replaced when they have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count as numbers
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.life import Life
from tests.faults.run import SEED, SOAK, TRIALS, conclude

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import SiteFactory, SiteSettings

WORKER_STEPS: Final = {
    "taken": 400,
    "retry-taken": 3,
    "handed-over": 6,
    "running": 30,
    "answered": 30,
    "letter-sent": 30,
    "letter-confirmed": 30,
    "outcome-sent": 400,
    "outcome-confirmed": 400,
    "retry-sent": 5,
    "retry-confirmed": 5,
    "commit-sent": 10,
    "commit-confirmed": 10,
}
"""By step, how often it is passed at most before it kills: so that each is reached within seconds."""
PROJECTOR_STEPS: Final = {"outcome-read": 400, "before-apply": 20, "applied": 20}
FELL_WITHIN: Final = 30.0


def named(step: str) -> str:
    """How a step stands in the table of trials."""
    role = "projector" if step in PROJECTOR_STEPS else "worker"
    return f"{role} killed at a step: {step.replace('-', ' ')}"


class Deaths:
    """Who dies next of what: each step as often as the others, in an order of the seed's."""

    def __init__(self, seed: int, steps: Sequence[str], times: int) -> None:
        self._random = Random(seed)
        self.waiting = [step for _ in range(times) for step in self._random.sample(steps, len(steps))]
        self._most = WORKER_STEPS | PROJECTOR_STEPS

    def arm(self) -> str | None:
        """The next step with the number of its passing; None where all have died."""
        if not self.waiting:
            return None
        step = self.waiting.pop()
        return f"{step}:{self._random.randint(1, self._most[step])}"


def replace(fleet: Fleet, life: Life, queues: Mapping[str, Deaths], fresh: Mapping[str, Iterator[int]]) -> None:
    """Put another, armed in its turn, in the place of each member that has died at its step."""
    for member in list(fleet.members.values()):
        step = (member.dies_at or "").partition(":")[0]
        if member.fell():
            fleet.deaths += 1
            role = member.name.partition("-")[0]
            name = f"{role}-{next(fresh[role])}"
            fleet.say(f"{member.name} fell: {member.dies_at}")
            life.recoveries.add(named(step), life.accepted)
            fleet.add(name, dies_at=queues[role].arm())


@pytest.mark.soak
@pytest.mark.timeout(14_400 if SOAK else 240)
def test_promises_hold_wherever_a_member_dies(own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path) -> None:
    times = TRIALS if SOAK else 1
    queues = {
        "worker": Deaths(SEED, list(WORKER_STEPS), times),
        "projector": Deaths(SEED, list(PROJECTOR_STEPS), times),
    }
    site = own_site()
    fresh = {role: numbers(10) for role in queues}
    with Fleet(site_settings(site), tmp_path, site=site) as fleet, Life(fleet, SEED) as life:
        for role, there in (("worker", 3), ("projector", 2)):
            for n in range(1, there + 1):
                fleet.add(f"{role}-{n}", dies_at=queues[role].arm())
        jobs = make_jobs(SEED, 10**7, TRIED)
        life.live_while(
            lambda: any(member.dies_at and member.expected for member in fleet.members.values()),
            jobs,
            rate=200,
            besides=lambda: replace(fleet, life, queues, fresh),
        )
        conclude(fleet, life)
