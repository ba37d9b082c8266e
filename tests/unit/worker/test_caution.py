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


@dataclass
class World:
    """What is done, in order; and up to which offset each partition is settled."""

    done: list[tuple[str, object]] = field(default_factory=list[tuple[str, object]])
    settled: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])

    def announce(self, partition: TopicPartition, first: int, end: int) -> bool:
        if self.settled.get(partition, first) != first:
            return False
        self.done.append(("announce", first if end == first + 1 else (first, end)))
        return True

    def commit_now(self) -> None:
        self.done.append(("commit", None))

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
    assert world.take() == [("announce", 10), ("run", 10)]
    assert caution.busy
    jobs[0].entry(0).settle()
    caution.turn()
    assert world.take() == [("announce", 11), ("run", 11)], "which commits the one before, too"
    jobs[1].entry(0).settle()
    caution.turn()
    assert world.take() == [("commit", None)]
    assert not caution.busy


def test_a_stretch_runs_in_chunks_until_it_is_known_where_the_killer_is(caution: Caution, world: World) -> None:
    caution.assigned(P, Start(10, 200, Left(2, 90)))
    assert [caution.chunk(P, offset) for offset in (10, 74)] == [64, 16 + REACH - 80]
    chunk = a_delivery([b"x"] * 64, offsets=list(range(10, 74)))
    chunk.entries = [Entry(P, 74, 64)]
    caution.add([chunk])
    caution.turn()
    assert world.take() == [("announce", (10, 74)), ("run", 10)]
    assert caution.drop({Q}) == 0
    caution.assigned(P, Start(10, 200, Left(3, 74, alone=True)))  # as its next owner is told
    assert [caution.watches(P, offset) for offset in (10, 73, 74)] == [True, True, True]
    assert [caution.chunk(P, offset) for offset in (10, 73, 74)] == [1, 1, 10 + REACH - 74]
    caution.add([a_job(10)])
    caution.turn()
    assert world.take() == [("announce", 10), ("run", 10)], "it may be any of them"


def test_the_job_that_its_owner_died_over_is_not_run_but_judged(caution: Caution, world: World) -> None:
    assert caution.assigned(P, Start(10, 50, Left(1, 11, alone=True)))
    assert [caution.watches(P, offset) for offset in (10, 11)] == [True, False]
    job = a_job(10)
    caution.add([job, a_job(20)])
    caution.turn()
    assert world.take() == [("condemn", 10)]
    job.entry(0).settle()
    caution.turn()
    assert world.take() == [("announce", 20), ("run", 20)], "the next one is not the killer"


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
    assert world.take() == [("announce", 7), ("run", 7)]


def test_what_a_lost_partition_left_is_forgotten(caution: Caution, world: World) -> None:
    caution.assigned(P, Start(10, 50, Left(2, 30)))
    caution.add([a_job(10), a_job(11), a_job(3, Q)])
    caution.turn()
    assert caution.drop({P}) == 1, "the one that is under way is counted by its engine"
    assert caution.idle
    world.take()
    caution.turn()
    assert world.take() == [("announce", 3), ("run", 3)]


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
