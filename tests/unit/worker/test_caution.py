"""Dangerous jobs: one at a time, each announced, the killer known, and nothing of it left behind when partitions go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from tests.unit.worker.making import a_delivery

from penstock_worker.caution import Caution
from penstock_worker.intake.delivery import Delivery, Isolation
from penstock_worker.intake.gate import Hold
from penstock_worker.intake.ledger import Entry, TopicPartition
from penstock_worker.intake.placing import Start
from penstock_worker.intake.takeover import Left

P, Q = ("f.jobs", 0), ("f.jobs", 1)
REACH = 100
SAID = {True: "{}", False: "{} in vain", None: "asked to {}"}


@dataclass
class World:
    """What is done, in order; and up to which offset each partition is settled."""

    done: list[tuple[str, object]] = field(default_factory=list[tuple[str, object]])
    settled: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    others_wait: bool = False
    clears: bool = True
    """Whether the engines hold nothing."""
    commits: bool | None = True
    """Whether Kafka takes commits; None as long as it does not answer."""
    closed: bool = False

    def stands_at(self, partition: TopicPartition, offset: int) -> bool:
        return self.settled.get(partition, offset) == offset

    def clear(self) -> bool:
        self.closed = True
        return self.clears

    def announce(self, partition: TopicPartition, end: int) -> bool | None:
        assert self.closed, "who is announced would be blamed for what runs beside it"
        self.done.append((SAID[self.commits].format("announce"), end))
        return self.commits

    def withdraw(self, partition: TopicPartition) -> bool | None:
        self.done.append((SAID[self.commits].format("withdraw"), None))
        return self.commits

    def let_in(self) -> None:
        self.closed = False
        self.done.append(("let in", None))

    def run_alone(self, delivery: Delivery) -> None:
        assert delivery.isolation is (Isolation.SOLO if len(delivery) == 1 else Isolation.ALONE)
        self.done.append(("run", int(delivery.offsets[0])))

    def condemn(self, delivery: Delivery, *, blind: bool) -> None:
        self.done.append(("condemn blind" if blind else "condemn", int(delivery.offsets[0])))

    def hold(self, hold: Hold) -> None:
        self.done.append(("hold", hold))

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        self.done.append(("release", sorted(partitions)))

    def take(self) -> list[tuple[str, object]]:
        taken, self.done = self.done, []
        return taken


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def caution(world: World) -> Caution:
    return Caution(world, world, REACH, 1000)


def a_job(offset: int, partition: TopicPartition = P) -> Delivery:
    job = a_delivery([b"x"], offsets=[offset], partitions=[partition[1]])
    job.entries = [Entry(partition, offset + 1, 1)]
    return job


def test_one_owner_that_ended_proves_nothing(caution: Caution) -> None:
    assert not caution.assigned(P, Start(10, 50, Left(1, 30)))
    assert caution.idle


def test_what_owners_in_a_row_may_have_held_is_dangerous(caution: Caution) -> None:
    assert caution.assigned(P, Start(10, 5000, Left(2, 300)))
    assert [caution.watches(P, offset) for offset in (10, 299, 300)] == [True, True, False]
    assert caution.idle, "past the stretch nobody needs to ask any more"
    caution.assigned(P, Start(10, 5000, Left(2, 12)))
    assert [caution.watches(P, offset) for offset in (10 + REACH - 1, 10 + REACH)] == [True, False], "it may not have said so"
    caution.assigned(P, Start(10, 40, Left(5, 300)))
    assert [caution.watches(P, offset) for offset in (39, 40)] == [True, False], "what came after them is harmless"
    assert not caution.assigned(P, Start(40, 40, Left(5, 40))), "an idle partition has nothing to fear"
    assert caution.idle
    assert not caution.assigned(P, Start(None))


def test_dangerous_jobs_run_one_at_a_time_each_behind_its_announcement(caution: Caution, world: World) -> None:
    jobs = [a_job(10), a_job(11)]
    caution.add(jobs)
    for _ in range(3):
        caution.turn()
    assert world.take() == [("announce", 11), ("run", 10)]
    assert caution.busy
    jobs[0].entry(0).settle()
    caution.turn()
    assert world.take() == [("announce", 12), ("run", 11)], "which commits the one before, too"
    jobs[1].entry(0).settle()
    caution.turn()
    assert world.take() == [("withdraw", None), ("let in", None)]
    assert not caution.busy


def test_a_stretch_runs_in_chunks_until_it_is_known_where_the_killer_is(caution: Caution, world: World) -> None:
    caution.assigned(P, Start(10, 200, Left(2, 90)))
    assert [caution.chunk(P, offset) for offset in (10, 74)] == [64, 16 + REACH - 80]
    chunk = a_delivery([b"x"] * 64, offsets=list(range(10, 74)))
    chunk.entries = [Entry(P, 74, 64)]
    caution.add([chunk])
    caution.turn()
    assert world.take() == [("announce", 74), ("run", 10)]
    assert caution.drop({Q}) == 0
    caution.assigned(P, Start(10, 200, Left(3, 74, alone=True)))  # as its next owner is told
    world.take()
    assert [caution.watches(P, offset) for offset in (10, 73, 74)] == [True, True, True]
    assert [caution.chunk(P, offset) for offset in (10, 73, 74)] == [1, 1, 10 + REACH - 74]
    caution.add([a_job(10)])
    caution.turn()
    assert world.take() == [("announce", 11), ("run", 10)], "it may be any of them"


def test_the_job_that_its_owner_died_over_is_not_run_but_judged(caution: Caution, world: World) -> None:
    assert caution.assigned(P, Start(10, 50, Left(1, 11, alone=True)))
    assert [caution.watches(P, offset) for offset in (10, 11)] == [True, False]
    job = a_job(10)
    caution.add([job, a_job(20)])
    caution.turn()
    assert world.take() == [("condemn", 10)]
    job.entry(0).settle()
    caution.turn()
    assert world.take() == [("announce", 21), ("run", 20)], "the next one is not the killer"


def test_a_job_that_judging_it_may_kill_is_judged_blindly(caution: Caution, world: World) -> None:
    caution.assigned(P, Start(10, 50, Left(5, 11, alone=True)))
    caution.add([a_job(10)])
    caution.turn()
    assert world.take() == [("condemn blind", 10)]


def test_a_job_waits_for_those_before_it_and_holds_up_no_other_partition(caution: Caution, world: World) -> None:
    world.settled = {P: 5}
    caution.add([a_job(10), a_job(7, Q)])
    caution.turn()
    caution.turn()
    assert world.take() == [("announce", 8), ("run", 7)]


def test_what_a_lost_partition_left_is_forgotten(caution: Caution, world: World) -> None:
    caution.assigned(P, Start(10, 50, Left(2, 30)))
    caution.add([a_job(10), a_job(11), a_job(3, Q)])
    caution.turn()
    assert caution.drop({P}) == 1, "the one that is under way is counted by its engine"
    assert caution.idle
    world.take()
    caution.turn()
    assert world.take() == [("announce", 4), ("run", 3)]


def test_other_jobs_have_their_turn_between_two_dangerous_ones(caution: Caution, world: World) -> None:
    jobs = [a_job(10), a_job(11)]
    caution.add(jobs)
    caution.turn()
    world.others_wait = True
    jobs[0].entry(0).settle()
    world.take()
    world.clears = False
    caution.turn()
    assert world.take() == [("withdraw", None), ("let in", None)]
    assert world.closed, "and then it is kept clear for the next one"
    world.clears = True
    caution.turn()
    assert world.take() == [("announce", 12), ("run", 11)]


def test_nothing_else_runs_as_long_as_an_announcement_stands(caution: Caution, world: World) -> None:
    job = a_job(10)
    caution.add([job])
    caution.turn()
    job.entry(0).settle()
    world.commits = False
    world.take()
    caution.turn()
    assert (world.take(), world.closed) == ([("withdraw in vain", None)], True)
    world.commits = True
    caution.turn()
    assert (world.take(), world.closed) == ([("withdraw", None), ("let in", None)], False)


def test_what_cannot_be_announced_lets_others_run(caution: Caution, world: World) -> None:
    caution.add([a_job(10), a_job(7, Q)])
    world.commits = False
    caution.turn()
    assert world.take() == [("announce in vain", 11), ("let in", None)]
    world.commits = True
    caution.turn()
    assert world.take() == [("announce", 8), ("run", 7)]


def test_nothing_goes_on_before_kafka_has_answered(caution: Caution, world: World) -> None:
    job = a_job(10)
    caution.add([job, a_job(7, Q)])
    world.commits = None
    for _ in range(2):
        caution.turn()
        assert (world.take(), world.closed) == ([("asked to announce", 11)], True)
    world.commits = True
    caution.turn()
    assert world.take() == [("announce", 11), ("run", 10)]
    job.entry(0).settle()
    world.commits = None
    caution.turn()
    assert (world.take(), world.closed) == ([("asked to withdraw", None)], True)
    world.commits = True
    caution.turn()
    assert world.take() == [("withdraw", None), ("let in", None), ("announce", 8), ("run", 7)]


def test_a_partition_that_goes_while_it_is_cleared_for_lets_others_in(caution: Caution, world: World) -> None:
    world.clears = False
    caution.add([a_job(10)])
    caution.turn()
    assert world.closed
    caution.drop({P})
    assert not world.closed


def test_other_partitions_that_come_and_go_let_nobody_in_beside_what_is_being_announced(caution: Caution, world: World) -> None:
    caution.add([a_job(10)])
    world.commits = None
    caution.turn()
    caution.assigned(Q, Start(0))
    caution.drop({Q})
    assert (world.take(), world.closed) == ([("asked to announce", 11)], True)
    world.commits = True
    caution.turn()
    assert world.take() == [("announce", 11), ("run", 10)]


def test_who_goes_while_it_is_spoken_of_with_kafka_is_not_spoken_of_any_more(caution: Caution, world: World) -> None:
    caution.assigned(P, Start(10, 50, Left(1, 11, alone=True)))
    job = a_job(10)
    caution.add([job])
    caution.turn()
    job.entry(0).settle()
    world.commits = None
    caution.turn()
    assert world.take() == [("condemn", 10), ("asked to withdraw", None)]
    caution.drop({P})
    assert world.take() == [("let in", None)], "which ends the question"
    assert not caution.busy


def test_what_stands_is_withdrawn_before_others_are_let_in(caution: Caution, world: World) -> None:
    jobs = [a_job(10), a_job(11)]
    caution.add(jobs)
    caution.turn()
    jobs[0].entry(0).settle()
    world.take()
    world.commits = False
    caution.turn()
    assert (world.take(), world.closed) == ([("announce in vain", 12)], True)
    world.others_wait = True
    caution.turn()
    assert (world.take(), world.closed) == ([("withdraw in vain", None)], True)
    world.commits = True
    caution.turn()
    assert world.take() == [("withdraw", None), ("let in", None), ("announce", 12), ("run", 11)]


def test_large_jobs_wait_in_kafka(caution: Caution, world: World) -> None:
    assert not caution.overflows(P)
    large = a_delivery([b"x" * 2000], offsets=[3])
    large.entries = [Entry(P, 4, 1)]
    caution.add([large])
    assert caution.overflows(P)
    assert caution.overflows(Q), "in all partitions together"
    caution.turn()
    assert not caution.overflows(Q), "what runs does not wait"


def test_few_wait_here_and_the_rest_in_kafka(caution: Caution, world: World) -> None:
    jobs = [a_job(offset) for offset in range(256)]
    assert not caution.overflows(P)
    caution.add(jobs)
    assert caution.overflows(P)
    assert not caution.overflows(Q)
    caution.hold(P, 256)
    for job in jobs:
        caution.turn()
        job.entry(0).settle()
    assert ("release", [P]) not in world.done
    caution.turn()
    assert world.done[0] == ("hold", Hold(P, 256))
    assert world.done[-1] == ("release", [P])
