"""Owns what goes wrong when: a schedule of faults, made from a seed. Pure.

Faults are dealt from a shuffled deck, so that a schedule of some length holds each kind. What follows from a fault (someone
wakes, comes back, or takes a place) is a step of the schedule too, and at its end nothing is left frozen or away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.faults.deck import ENDS, Fault, Where

WORKERS: Final = 3
PROJECTORS: Final = 2
_USUALLY: Final = {"worker": WORKERS, "projector": PROJECTORS}
_ENGINE_KILLS: Final = 1
"""A job that was run alone when we killed its engine is innocent, and is given up the second time: so one a worker."""
_LENGTHS: Final[Mapping[Fault, tuple[float, float]]] = {
    Fault.KILL_KAFKA: (0.2, 2.0),
    Fault.STOP_KAFKA: (1.0, 6.0),
    Fault.OLDER_REDIS: (1.0, 3.0),
}
"""How long faults last, in seconds, where that is not the usual."""
_USUAL_LENGTH: Final = (0.3, 4.0)
_MOST: Final[Mapping[Fault, int]] = {Fault.MORE_PARTITIONS: 8}
"""A topic has no partitions for ever."""
_PATIENCE: Final = 4
"""So many turns it waits for what is left of the deck."""


@dataclass(frozen=True, slots=True)
class Step:
    """``at`` is in seconds from the schedule's start; ``target`` a member's or a link's name, or empty."""

    at: float
    fault: Fault
    target: str = ""

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.fault} {self.target}".rstrip()


def is_worker(member: str) -> bool:
    return member.startswith("worker")


def first_members() -> list[str]:
    """Who is there at the start."""
    return [f"worker-{n}" for n in range(1, WORKERS + 1)] + [f"projector-{n}" for n in range(1, PROJECTORS + 1)]


def make_schedule(
    seed: int, seconds: float, deck: Sequence[Fault], *, session: float, gap: float = 1.5, links: Sequence[str] = ()
) -> list[Step]:
    """Faults of ``deck`` over ``seconds``, ``gap`` seconds apart on average.

    ``session`` is how long the group waits for a silent member, in seconds; ``links`` are the links that there are to Kafka.
    """
    return _Maker(Random(seed), session, deck, links).make(seconds, gap)


@dataclass(slots=True)
class _Maker:
    random: Random
    session: float
    deck: Sequence[Fault]
    links: Sequence[str]
    members: list[str] = field(default_factory=first_members)
    made: dict[str, int] = field(default_factory=lambda: dict(_USUALLY))
    away_until: dict[str, float] = field(default_factory=dict[str, float])
    """Until when a member is frozen, or a service or link (by its name) away."""
    engine_kills: dict[str, int] = field(default_factory=dict[str, int])
    left: dict[Fault, int] = field(default_factory=lambda: dict(_MOST))
    """How often faults may still come that may come only so often."""
    steps: list[Step] = field(default_factory=list[Step])

    def make(self, seconds: float, gap: float) -> list[Step]:
        left: list[Fault] = []
        blocked = 0
        now = self.random.uniform(0.2, gap)
        while now < seconds:
            if not left:
                left = self.random.sample(self.deck, len(self.deck))
            fault = next((fault for fault in left if self._play(now, fault)), None)
            if fault is not None:
                left.remove(fault)
                blocked = 0
            elif (blocked := blocked + 1) > _PATIENCE:
                left = []  # nothing that is left can be done, or not for long
            now += self.random.uniform(0.1, 2 * gap)
        return sorted(self.steps, key=lambda step: step.at)

    def _play(self, now: float, fault: Fault) -> bool:
        """Add the steps of one fault; False where it cannot be done now."""
        match fault.where:
            case Where.KAFKA | Where.REDIS:
                return self._service(now, fault)
            case Where.LINK:
                return self._link(now, fault)
            case Where.WORKER:
                return self._member(now, fault, "worker")
            case Where.PROJECTOR:
                return self._member(now, fault, "projector")

    def _member(self, now: float, fault: Fault, role: str) -> bool:
        if fault is Fault.ADD_WORKER:
            if len(self._of(role)) > WORKERS:
                return False
            self._add(now, role, fault)
            return True
        free = awake = [member for member in self._of(role) if self.away_until.get(member, 0) < now]
        if fault is Fault.KILL_ENGINE:
            free = [member for member in awake if self.engine_kills.get(member, 0) < _ENGINE_KILLS]
        if len(awake) < 2 or not free:  # somebody is always left who can work
            return False
        target = self.random.choice(free)
        self.steps.append(Step(now, fault, target))
        if fault is Fault.KILL_ENGINE:
            self.engine_kills[target] = self.engine_kills.get(target, 0) + 1
        elif fault in ENDS:
            until = now + self.session * (1.6 if fault in (Fault.FREEZE_WORKER, Fault.FREEZE_PROJECTOR) else 0.3)
            self.away_until[target] = until
            self.steps.append(Step(until, ENDS[fault], target))
        else:
            self.members.remove(target)
            if len(self._of(role)) < _USUALLY[role]:  # where one was added, there is room for another one now
                self._add(now + self.random.uniform(0.0, 2.0), role)
        return True

    def _service(self, now: float, fault: Fault) -> bool:
        name = fault.where.value
        if self.away_until.get(name, 0) >= now or self.left.get(fault, 1) < 1:
            return False
        self.steps.append(Step(now, fault))
        if fault in self.left:
            self.left[fault] -= 1
        if fault in ENDS:
            self._end(now, fault, name, "")
        return True

    def _link(self, now: float, fault: Fault) -> bool:
        free = [link for link in self.links if self.away_until.get(link, 0) < now]
        if not free:
            return False
        target = self.random.choice(free)
        self.steps.append(Step(now, fault, target))
        if fault in ENDS:
            self._end(now, fault, target, target)
        return True

    def _end(self, now: float, fault: Fault, name: str, target: str) -> None:
        until = now + self.random.uniform(*_LENGTHS.get(fault, _USUAL_LENGTH))
        self.away_until[name] = until
        self.steps.append(Step(until, ENDS[fault], target))

    def _add(self, at: float, role: str, fault: Fault = Fault.ADD) -> None:
        self.made[role] += 1
        name = f"{role}-{self.made[role]}"
        self.members.append(name)
        self.away_until[name] = at + 1.0  # it starts meanwhile
        self.steps.append(Step(at, fault, name))

    def _of(self, role: str) -> list[str]:
        return [member for member in self.members if member.startswith(role)]
