"""Owns what goes wrong when: a schedule of faults, made from a seed. Pure.

Faults are dealt from a shuffled deck, so that a schedule of some length holds each kind. What follows from a fault (someone
wakes, comes back, or takes a place) is a step of the schedule too, and at its end nothing is left frozen or away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

WORKERS: Final = 3
PROJECTORS: Final = 2
_ENGINE_KILLS: Final = 2
"""A job is given up after three engines that died on it, and who is run when we kill one is innocent: so two a worker."""


class Fault(StrEnum):
    """What is done to whom; the second half follows from the first."""

    KILL = "kill"
    """SIGKILL."""
    DRAIN = "drain"
    """SIGTERM."""
    FREEZE = "freeze"
    """SIGSTOP, for longer or shorter than the group waits for a member."""
    KILL_ENGINE = "kill engine"
    KILL_REDIS = "kill Redis"
    FLUSH_REDIS = "flush Redis"

    WAKE = "wake"
    ADD = "add"
    START_REDIS = "start Redis"


@dataclass(frozen=True, slots=True)
class Step:
    """``at`` is in seconds from the schedule's start; ``target`` a member's name, or empty for Redis."""

    at: float
    fault: Fault
    target: str = ""

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.fault} {self.target}".rstrip()


_DECK: Final = (
    (Fault.KILL, "worker"),
    (Fault.KILL, "worker"),
    (Fault.DRAIN, "worker"),
    (Fault.FREEZE, "worker"),
    (Fault.KILL_ENGINE, "worker"),
    (Fault.KILL_ENGINE, "worker"),
    (Fault.ADD, "worker"),
    (Fault.KILL, "projector"),
    (Fault.DRAIN, "projector"),
    (Fault.FREEZE, "projector"),
    (Fault.KILL_REDIS, ""),
    (Fault.FLUSH_REDIS, ""),
)


def is_worker(member: str) -> bool:
    return member.startswith("worker")


def first_members() -> list[str]:
    """Who is there at the start."""
    return [f"worker-{n}" for n in range(1, WORKERS + 1)] + [f"projector-{n}" for n in range(1, PROJECTORS + 1)]


def make_schedule(seed: int, seconds: float, *, session: float, gap: float = 1.5) -> list[Step]:
    """Faults over ``seconds``, ``gap`` seconds apart on average.

    ``session`` is how long the group waits for a silent member, in seconds.
    """
    return _Maker(Random(seed), session).make(seconds, gap)


@dataclass(slots=True)
class _Maker:
    random: Random
    session: float
    members: list[str] = field(default_factory=first_members)
    made: dict[str, int] = field(default_factory=lambda: {"worker": WORKERS, "projector": PROJECTORS})
    away_until: dict[str, float] = field(default_factory=dict[str, float])
    """Until when a member is frozen, or (under an empty name) Redis away."""
    engine_kills: dict[str, int] = field(default_factory=dict[str, int])
    steps: list[Step] = field(default_factory=list[Step])

    def make(self, seconds: float, gap: float) -> list[Step]:
        deck: list[tuple[Fault, str]] = []
        now = self.random.uniform(0.2, gap)
        while now < seconds:
            if not deck:
                deck = self.random.sample(_DECK, len(_DECK))
            card = next((card for card in deck if self._play(now, *card)), None)
            if card is None:
                deck = []  # nothing that is left can be done now
            else:
                deck.remove(card)
            now += self.random.uniform(0.1, 2 * gap)
        return sorted(self.steps, key=lambda step: step.at)

    def _play(self, now: float, fault: Fault, role: str) -> bool:
        """Add the steps of one fault; False where it cannot be done now."""
        if not role:
            return self._redis(now, fault)
        if fault is Fault.ADD:
            if len(self._of(role)) > WORKERS:
                return False
            self._add(now, role)
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
        elif fault is Fault.FREEZE:
            until = now + self.session * self.random.choice((0.3, 1.6))
            self.away_until[target] = until
            self.steps.append(Step(until, Fault.WAKE, target))
        else:
            self.members.remove(target)
            self._add(now + self.random.uniform(0.0, 2.0), role)
        return True

    def _redis(self, now: float, fault: Fault) -> bool:
        if self.away_until.get("", 0) >= now:
            return False
        self.steps.append(Step(now, fault))
        if fault is Fault.KILL_REDIS:
            self.away_until[""] = until = now + self.random.uniform(0.2, 3.0)
            self.steps.append(Step(until, Fault.START_REDIS))
        return True

    def _add(self, at: float, role: str) -> None:
        self.made[role] += 1
        name = f"{role}-{self.made[role]}"
        self.members.append(name)
        self.away_until[name] = at + 1.0  # it starts meanwhile
        self.steps.append(Step(at, Fault.ADD, name))

    def _of(self, role: str) -> list[str]:
        return [member for member in self.members if member.startswith(role)]
