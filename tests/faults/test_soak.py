"""Workers are killed at random for as long as one likes, and a fleet that nothing happens to grows nowhere."""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.life import Life
from tests.faults.run import SEED, SOAK, conclude, in_turn, options
from tests.faults.schedule import first_members
from tests.faults.subjects import FLAT, RANDOM_KILLS
from tests.faults.trials import Trial, commit, record
from tests.faults.vitals import Vitals

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

AN_HOUR: Final = 3600.0
KILLS: Final = 60 if SOAK else 4
MEAN_PAUSE: Final = 2.0
SECONDS: Final = float(os.environ.get("FAULTS_SOAK_SECONDS") or AN_HOUR)


class Killer:
    """Kills a worker at random every now and then, and starts another."""

    def __init__(self, fleet: Fleet, life: Life, kills: int) -> None:
        self._fleet = fleet
        self._life = life
        self._random = Random(SEED)
        self._due = 0.0
        self.left = kills

    def turn(self) -> None:
        """Kill one if it is time."""
        now = time.monotonic()
        if now < self._due or not self.left:
            return
        self._due = now + self._random.expovariate(1 / MEAN_PAUSE)
        workers = [member for member in self._fleet.members.values() if member.expected and member.name.startswith("worker")]
        victim = self._random.choice(workers)  # starting ones, too
        victim.killed = True
        victim.process.kill()
        self.left -= 1
        self._fleet.deaths += 1
        self._life.recoveries.add(RANDOM_KILLS, self._life.accepted)
        self._fleet.add(f"worker-{len(self._fleet.members) + 1}")


@pytest.mark.soak
@in_turn("random kills")
@pytest.mark.timeout(1200 if SOAK else 200)
def test_workers_are_killed_at_random(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    chosen = settings(**options(tmp_path))
    make_topics(chosen)
    members = first_members()
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        life.begin(members)
        killer = Killer(fleet, life, KILLS)
        life.live_while(lambda: killer.left > 0, make_jobs(SEED, 10**7, TRIED), rate=100, besides=killer.turn)
        conclude(fleet, life)


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="it takes an hour to see whether something grows: make soak")
@pytest.mark.timeout(SECONDS + 600)
def test_nothing_grows(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    usual = options(tmp_path)
    usual["models"]["double"]["max_batch_rows"] = 256
    chosen = settings(**usual | {"result_ttl": 30.0})  # so that Redis, too, comes to rest at one size
    make_topics(chosen)
    members = ["worker-1", "worker-2", "projector-1"]
    end = time.monotonic() + SECONDS
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        life.begin(members)
        vitals = Vitals(fleet, SECONDS / 400, time.monotonic)
        life.live_while(lambda: time.monotonic() < end, make_jobs(SEED, 10**8), rate=200, besides=vitals.look)
        life.rest()
        troubles = fleet.drain_all()
    fleet.say(str(vitals))
    breaches = [*vitals.breaches()]
    clean = not breaches and not troubles
    if SECONDS >= AN_HOUR:
        record([Trial(FLAT, SEED, commit(), clean, len(life.accepted))])
    assert clean, "\n".join([*(breach.what for breach in breaches), *troubles])
