"""A schedule of faults is what it says: repeatable, complete, and never without somebody who can work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from tests.faults.deck import ENDS, FLEET, KAFKA, REDIS, Fault
from tests.faults.schedule import Step, first_members, is_worker, make_schedule

SESSION = 3.0
SEEDS = range(100)


ALL = (*FLEET, *KAFKA, *REDIS)
DECKS = pytest.mark.parametrize("deck", [FLEET, KAFKA, REDIS, ALL], ids=["fleet", "kafka", "redis", "all"])
LINKS = ("link-1", "link-2")


def made(seed: int, deck: Sequence[Fault], seconds: float = 60) -> list[Step]:
    return make_schedule(seed, seconds, deck, session=SESSION, links=LINKS)


@DECKS
def test_a_seed_makes_one_schedule(deck: Sequence[Fault]) -> None:
    assert made(5, deck) == made(5, deck)
    assert made(5, deck) != made(6, deck)


@DECKS
def test_every_fault_occurs(deck: Sequence[Fault]) -> None:
    for seed in SEEDS:
        dealt = {step.fault for step in made(seed, deck, 120) if step.fault.is_trial}
        assert dealt == set(deck), f"seed {seed}"


def test_some_are_frozen_for_longer_than_the_group_waits() -> None:
    for fault, longer in ((Fault.FREEZE_WORKER, True), (Fault.DOZE_WORKER, False), (Fault.FREEZE_PROJECTOR, True)):
        asleep = [length for seed in SEEDS for length in _lengths(made(seed, FLEET), fault)]
        assert asleep
        assert all((length > SESSION) == longer for length in asleep)


@DECKS
@pytest.mark.parametrize("seed", SEEDS)
def test_steps_fit_who_is_there(seed: int, deck: Sequence[Fault]) -> None:
    there, frozen, kills = set(first_members()), set[str](), Counter[str]()
    for step in made(seed, deck, 120):
        match step.fault:
            case Fault.ADD | Fault.ADD_WORKER:
                assert step.target not in there
                there.add(step.target)
            case Fault.WAKE:
                frozen.remove(step.target)
            case Fault.FREEZE_WORKER | Fault.DOZE_WORKER | Fault.FREEZE_PROJECTOR:
                assert step.target in there - frozen
                frozen.add(step.target)
            case Fault.KILL_WORKER | Fault.DRAIN_WORKER | Fault.KILL_PROJECTOR | Fault.DRAIN_PROJECTOR:
                assert step.target in there - frozen
                there.remove(step.target)
            case Fault.KILL_ENGINE:
                assert is_worker(step.target)
                assert step.target in there - frozen
                kills[step.target] += 1
            case _:
                assert step.target in ("", *LINKS)
        awake = there - frozen
        assert {is_worker(member) for member in awake} == {True, False}, f"nobody can work after {step}"
    assert not frozen
    assert max(kills.values(), default=0) <= 1, "an innocent job may be given up"


@DECKS
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_lasts_ends_before_more_is_done_to_the_same(seed: int, deck: Sequence[Fault]) -> None:
    away: dict[str, Fault] = {}
    for step in made(seed, deck, 120):
        name = step.target or step.fault.where.value
        if step.fault in ENDS:
            assert name not in away
            away[name] = ENDS[step.fault]
        elif step.fault is away.get(name):
            del away[name]
    assert not away


def _lengths(steps: list[Step], fault: Fault) -> list[float]:
    begun: dict[str, float] = {}
    lengths: list[float] = []
    for step in steps:
        if step.fault is fault:
            begun[step.target] = step.at
        elif step.fault is Fault.WAKE and step.target in begun:
            lengths.append(step.at - begun.pop(step.target))
    return lengths
