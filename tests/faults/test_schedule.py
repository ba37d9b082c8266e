"""A schedule of faults is what it says: repeatable, complete, and never without somebody who can work."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.faults.schedule import Fault, Step, first_members, is_worker, make_schedule

SESSION = 3.0
SEEDS = range(100)


def test_a_seed_makes_one_schedule() -> None:
    assert make_schedule(5, 60, session=SESSION) == make_schedule(5, 60, session=SESSION)
    assert make_schedule(5, 60, session=SESSION) != make_schedule(6, 60, session=SESSION)


def test_every_fault_occurs() -> None:
    for seed in SEEDS:
        assert {step.fault for step in make_schedule(seed, 60, session=SESSION)} == set(Fault), f"seed {seed}"


def test_some_are_frozen_for_longer_than_the_group_waits() -> None:
    asleep = [length for seed in SEEDS for length in _sleeps(make_schedule(seed, 60, session=SESSION))]
    assert min(asleep) < SESSION < max(asleep)


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_fit_who_is_there(seed: int) -> None:
    there, frozen, kills = set(first_members()), set[str](), Counter[str]()
    redis = True
    for step in make_schedule(seed, 120, session=SESSION):
        match step.fault:
            case Fault.ADD:
                assert step.target not in there
                there.add(step.target)
            case Fault.WAKE:
                frozen.remove(step.target)
            case Fault.FREEZE:
                assert step.target in there - frozen
                frozen.add(step.target)
            case Fault.KILL | Fault.DRAIN:
                assert step.target in there - frozen
                there.remove(step.target)
            case Fault.KILL_ENGINE:
                assert is_worker(step.target)
                assert step.target in there - frozen
                kills[step.target] += 1
            case Fault.KILL_REDIS | Fault.START_REDIS:
                assert redis == (step.fault is Fault.KILL_REDIS)
                redis = not redis
            case Fault.FLUSH_REDIS:
                assert redis
        awake = there - frozen
        assert {is_worker(member) for member in awake} == {True, False}, f"nobody can work after {step}"
    assert not frozen
    assert redis
    assert max(kills.values(), default=0) <= 2, "an innocent job may be given up"


def _sleeps(steps: list[Step]) -> list[float]:
    begun = {step.target: step.at for step in steps if step.fault is Fault.FREEZE}
    return [step.at - begun[step.target] for step in steps if step.fault is Fault.WAKE and begun[step.target] < step.at]
