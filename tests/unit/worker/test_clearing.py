"""Announcements: committed once, asked about until they are answered, and retracted where they are refused."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from penstock_worker.clearing import Clearing
from penstock_worker.intake.ledger import Ledger, Mark, TopicPartition

P = ("f.jobs", 0)


class World:
    """An intake and a pool."""

    def __init__(self) -> None:
        self.commits: list[Mapping[TopicPartition, Mark]] = []
        self.answers: bool | None = None
        self.closed = True

    def commit(self, marks: Mapping[TopicPartition, Mark]) -> None:
        self.commits.append(marks)

    def answer(self, partitions: Iterable[TopicPartition]) -> bool | None:
        assert list(partitions) == [P]
        return self.answers

    def let_in(self) -> None:
        self.closed = False


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def made(now: list[float]) -> tuple[Clearing, Ledger, World]:
    world, ledger = World(), Ledger()
    there: Any = world
    ledger.assign(P, 10)
    ledger.open(P, 10, 12, 3)
    return Clearing(there, ledger, there), ledger, world


def test_it_commits_once_and_asks_until_it_is_answered(made: tuple[Clearing, Ledger, World]) -> None:
    clearing, ledger, world = made
    assert not clearing.asking
    assert [clearing.announce(P, 11), clearing.announce(P, 11)] == [None, None]
    assert clearing.asking
    assert world.commits == [{P: Mark(10, 0, 11, alone=True)}]
    world.answers = True
    assert (clearing.announce(P, 11), clearing.asking) == (True, False)
    world.answers = None
    assert clearing.withdraw(P) is None
    assert clearing.announce(P, 11) is None, "another question than the one before"
    assert len(world.commits) == 3
    assert ledger.committable() == {}


def test_what_is_refused_is_retracted_and_tried_again_a_moment_later(
    made: tuple[Clearing, Ledger, World], now: list[float]
) -> None:
    clearing, ledger, world = made
    world.answers = False
    assert [clearing.announce(P, 11), clearing.announce(P, 11)] == [False, False]
    assert len(world.commits) == 1
    assert ledger.committable() == {P: Mark(10, 0, 13)}, "Kafka may have it all the same"
    now[0] += 1
    assert [clearing.withdraw(P), clearing.announce(P, 11)] == [False, False]
    assert world.commits[1:] == [{P: Mark(10, 0, 13)}]


def test_whoever_lets_in_waits_for_no_answer_any_more(made: tuple[Clearing, Ledger, World]) -> None:
    clearing, _, world = made
    clearing.announce(P, 11)
    clearing.let_in()
    assert (clearing.asking, world.closed) == (False, False)
    world.answers = True
    assert clearing.announce(P, 11)
    assert len(world.commits) == 2
