"""A worker or projector may be killed at each step of a job's way: nothing is lost, and nothing contradicts itself.

Members are armed to kill themselves at a step (``steps/sitecustomize.py``) and replaced when they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.life import Life
from tests.faults.run import SEED, SOAK, conclude, options
from tests.faults.subjects import PROJECTOR_STEPS, WORKER_STEPS, step_name

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

STEADY: Final = {"worker": 2, "projector": 1}
"""Members of each role that nothing happens to: where all die all the time nobody comes to anything."""
AT_ONCE: Final = {"worker": 2, "projector": 1}
"""So many of each role are on their way to their step at any time."""
SAMPLED: Final = {"worker": 3, "projector": 1}
"""So many steps are tried in ``make test``."""
TIMES: Final = 3 if SOAK else 1
STEPS: Final[Mapping[str, Mapping[str, int]]] = {"worker": WORKER_STEPS, "projector": PROJECTOR_STEPS}
ARMED: Final = 10
"""The first armed member's number."""


class Deaths:
    """Of what the members of one role die in turn: each step some times, in an order of the seed's, or a sample of them."""

    def __init__(self, role: str, random: Random) -> None:
        self._role = role
        self._random = random
        self._numbers = count(ARMED)
        most = len(STEPS[role]) if SOAK else SAMPLED[role]
        self._waiting = [step for _ in range(TIMES) for step in random.sample(list(STEPS[role]), most)]

    def next(self, fleet: Fleet) -> None:
        """Start the next member that is to die, or one that is not where all have died."""
        name = f"{self._role}-{next(self._numbers)}"
        if not self._waiting:
            fleet.add(name)
            return
        step = self._waiting.pop()
        fleet.add(name, dies_at=f"{step}:{self._random.randint(1, STEPS[self._role][step])}")


def replace(fleet: Fleet, life: Life, deaths: Mapping[str, Deaths]) -> None:
    """Put the next in the place of each member that has died at its step."""
    for member in list(fleet.members.values()):
        if member.fell():
            fleet.deaths += 1
            fleet.say(f"{member.name} fell: {member.dies_at}")
            step = (member.dies_at or "").partition(":")[0]
            life.recoveries.add(step_name(step), life.accepted)
            deaths[member.name.partition("-")[0]].next(fleet)


@pytest.mark.soak
@pytest.mark.timeout(1800 if SOAK else 240)
def test_promises_hold_wherever_a_member_dies(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    random = Random(SEED)
    deaths = {role: Deaths(role, random) for role in STEPS}
    chosen = settings(**options(tmp_path))
    make_topics(chosen)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        steady = [f"{role}-{number + 1}" for role, many in STEADY.items() for number in range(many)]
        life.begin(steady)
        for role, queue in deaths.items():
            for _ in range(AT_ONCE[role]):
                queue.next(fleet)
        life.live_while(
            lambda: any(member.dies_at and member.expected for member in fleet.members.values()),
            make_jobs(SEED, 10**7, TRIED),
            rate=200,
            besides=lambda: replace(fleet, life, deaths),
        )
        conclude(fleet, life)
