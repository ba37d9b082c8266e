"""What a poll gave becomes deliveries: new jobs by run, retried ones under their origin, dangerous ones apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.worker.making import Message, messages

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header
from penstock_schemas.retries import PROBE, Tries, build_retry_headers
from penstock_worker.caution import Caution
from penstock_worker.intake.consumer import Fetched
from penstock_worker.intake.delivery import Delivery
from penstock_worker.intake.gate import Hold
from penstock_worker.intake.ledger import Ledger
from penstock_worker.intake.placing import Start
from penstock_worker.intake.takeover import Left
from penstock_worker.intake.taking import Limits, Taking

JOBS, RETRY = "f.jobs", "f.retry.10s"
ERROR = JobError(ErrorCode.ENGINE_CRASH, "it died")


class World:
    """Keeps dangerous jobs waiting, and counts what is missing."""

    def __init__(self) -> None:
        self.held: list[Hold] = []
        self.missed: list[tuple[Any, int, int]] = []
        self.caution = Caution(self, self, 50, 1_000_000)
        self.ledger = Ledger()
        for partition in ((JOBS, 0), (JOBS, 1), (RETRY, 0)):
            self.ledger.assign(partition, 0)
        self.taking = Taking(Limits([JOBS], 1000, 600.0), self.ledger, self.caution, self._missing)

    def _missing(self, partition: Any, first: int, last: int) -> None:
        self.missed.append((partition, first, last))

    @property
    def others_wait(self) -> bool:
        return False

    def stands_at(self, partition: Any, offset: int) -> bool:
        return False

    def clear(self) -> bool:
        return True

    def announce(self, partition: Any, end: int) -> bool:
        return True

    def withdraw(self, partition: Any) -> bool:
        return True

    def let_in(self) -> None: ...
    def run_alone(self, delivery: Delivery) -> None: ...
    def condemn(self, delivery: Delivery, *, blind: bool) -> None: ...
    def release(self, partitions: Any) -> None: ...

    def hold(self, hold: Hold) -> None:
        self.held.append(hold)


@pytest.fixture
def world() -> World:
    return World()


def job(offset: int, partition: int = 0) -> Message:
    return Message(b"x", b"k%d" % offset, partition, offset, 1000, topic_=JOBS)


def retried(offset: int, origin: str, value: bytes = b"x", **tries: Any) -> Message:
    headers: list[Header] = build_retry_headers(
        Tries(origin, 500, 2, original=[("mine", b"h")], **tries), job_id=b"id", error=ERROR, worker="w", due_ms=0
    )
    return Message(value, b"key", 0, offset, 9000, headers, RETRY)


def test_new_jobs_have_an_entry_a_run(world: World) -> None:
    (delivery,) = world.taking.take(Fetched(messages(job(0), job(1), job(5, 1)), []))
    assert [(entry.partition, entry.unsettled) for entry in delivery.entries] == [((JOBS, 0), 2), ((JOBS, 1), 1)]
    assert world.missed == [((JOBS, 1), 0, 4)]
    assert not delivery.retried


def test_retried_jobs_stand_under_their_origin_and_are_settled_where_they_were_read(world: World) -> None:
    taken = messages(retried(0, "f.jobs-3-17"), retried(1, "f.jobs.slow-1-2"), retried(2, "f.jobs-1-4"))
    first, second = world.taking.take(Fetched([], taken))
    assert (first.topic, first.partitions.tolist(), first.offsets.tolist()) == (JOBS, [3, 1], [17, 4])
    assert first.timestamps_ms.tolist() == [500, 500]
    assert (second.topic, second.partitions.tolist(), second.offsets.tolist()) == ("f.jobs.slow", [1], [2])
    assert first.retried
    assert first.tries(0).attempt == 2
    assert first.entry(1).partition == (RETRY, 0)
    for delivery in (first, second):
        for index in range(len(delivery)):
            delivery.entry(index).settle()
    assert world.ledger.committable()[RETRY, 0].offset == 3


def test_retried_jobs_travel_in_bounded_deliveries(world: World) -> None:
    taken = messages(*[retried(n, f"f.jobs-0-{n}", b"x" * 400) for n in range(5)], retried(5, "f.jobs-0-9", b"x" * 4000))
    assert [len(delivery) for delivery in world.taking.take(Fetched([], taken))] == [2, 2, 1, 1]


def test_a_question_for_the_time_is_passed_over(world: World) -> None:
    probe = Message(None, None, 0, 0, 9000, [(PROBE, b"1")], RETRY)
    assert world.taking.take(Fetched([], messages(probe))) == []
    assert world.ledger.committable()[RETRY, 0].offset == 1


def test_a_job_with_a_probes_header_of_its_own_is_a_job(world: World) -> None:
    record = retried(0, "f.jobs-0-0")
    record = replace(record, headers_=[*(record.headers_ or []), (PROBE, b"1")])
    assert len(world.taking.take(Fetched([], messages(record)))) == 1


def test_jobs_that_have_waited_for_their_model_as_long_as_they_may_are_run(world: World) -> None:
    taken = messages(retried(0, "f.jobs-0-0", waited=600.0), retried(1, "f.jobs-0-1", waited=599.0))
    found = {delivery.offsets.tolist()[0]: delivery.last_chance for delivery in world.taking.take(Fetched([], taken))}
    assert found == {0: True, 1: False}


def test_what_killed_before_stands_apart(world: World) -> None:
    (delivery,) = world.taking.take(Fetched([], messages(retried(0, "f.jobs-0-0", kills=1), retried(1, "f.jobs-0-1"))))
    assert delivery.offsets.tolist() == [1]
    assert world.caution.busy


def test_a_watched_stretch_stands_apart_and_what_follows_does_not(world: World) -> None:
    world.caution.assigned((JOBS, 0), Start(0, 3, Left(2, 3)))
    deliveries = world.taking.take(Fetched(messages(job(0), job(1), job(0, 1), job(2), job(3)), []))
    assert [delivery.offsets.tolist() for delivery in deliveries] == [[0, 3]]
    assert world.ledger.unsettled() == 5
    assert world.caution.drop({(JOBS, 0)}) == 3


def test_more_than_may_wait_is_left_in_kafka(world: World) -> None:
    world.taking.take(Fetched([], messages(*[retried(n, f"f.jobs-0-{n}", kills=1) for n in range(300)])))
    assert world.taking.take(Fetched([], messages(retried(300, "f.jobs-0-300"), retried(301, "f.jobs-0-301")))) == []
    assert world.held == [Hold((RETRY, 0), 300)]
    assert world.ledger.unsettled() == 300
