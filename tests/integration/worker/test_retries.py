"""Retries through real Kafka: due when they should be, at the cost they should have, whoever dies meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import Producer
from tests.backends.numpy_models import KILLS_WORKER, NO_MEMORY, write_model
from tests.integration.worker.fleet import HERE, Fleet, MakeFleet, Tail, WorkerProcess, job, letter_headers, names
from tests.integration.worker.test_running import get
from tests.support import eventually

from penstock_schemas.dead import parse_letter
from penstock_schemas.headers import parse_rfc3339
from penstock_schemas.retries import is_probe, own_headers, parse_tries

if TYPE_CHECKING:
    from confluent_kafka import Message

TIERS = {"tiers": ["1s", "2s"], "attempts": 3, "model_grace": 3600}


class RetryTail:
    """The retry records of one tier, as they come."""

    def __init__(self, fleet: Fleet, tier: str) -> None:
        self._tail = Tail(fleet.settings.kafka.bootstrap_servers, fleet.settings.names.retry(tier))

    def until(self, count: int) -> list[Message]:
        self._tail.until(lambda: len(self._jobs()) >= count, f"{count} retry records")
        return self._jobs()

    def close(self) -> None:
        self._tail.close()

    def _jobs(self) -> list[Message]:
        return [record for record in self._tail.records if not is_probe(letter_headers(record))]


def time_ms(message: Message) -> int:
    return message.timestamp()[1]


def died_before_all_was_done(fleet: Fleet, worker: WorkerProcess) -> bool:
    """Wait until ``worker`` is gone, or every job of ``fleet`` has its outcome; which of the two."""
    ids = {f"j-{n}" for n in range(40)}

    def done() -> bool:
        return ids <= set(fleet.answered_now())

    eventually(lambda: not worker.process.is_running or done(), "the worker's end, or its jobs'", timeout=90)
    return not worker.process.is_running


def test_a_job_that_may_pass_is_tried_again_when_it_is_due_and_keeps_all_it_had(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(retry=TIERS)
    worker = fleet.start(path=[HERE / "fast_clock"]).ready()  # whose clock is wrong
    first, second = RetryTail(fleet, "1s"), RetryTail(fleet, "2s")
    body = job(NO_MEMORY)
    fleet.publish(body, headers=[("mine", b"\xff"), ("mine", None)], partition=1)
    fleet.flush()
    (one,) = first.until(1)
    (two,) = second.until(1)
    for record in (one, two):
        assert (record.key(), record.value()) == (None, body)
        assert letter_headers(record)[-2:] == [("mine", b"\xff"), ("mine", None)]
    tries = parse_tries(letter_headers(two), topic="", partition=0, offset=0, timestamp_ms=0, retried=True)
    assert tries.place == (fleet.settings.names.jobs(), 1, 0)
    assert [failure["attempt"] for failure in tries.failures] == [1, 2]
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in letter_headers(one)}
    due, first_failed = parse_rfc3339(said["penstock-due"]), parse_rfc3339(said["penstock-first-failure"])
    assert due is not None
    assert first_failed is not None
    assert abs(due - 1000 - time_ms(one)) < 3000, "by the broker's clock"
    assert abs(first_failed - time_ms(one)) < 3000
    assert (said["penstock-attempt"], said["penstock-error-code"], said["penstock-model"]) == ("2", "out_of_memory", "m")
    assert (said["penstock-model-version"], said["penstock-origin"]) == ("1", f"{fleet.settings.names.jobs()}-1-0")
    assert said["penstock-worker"]
    derived = dict(letter_headers(two))["penstock-id"]
    assert derived is not None
    (letter,) = fleet.letters(derived.decode()).values()
    assert time_ms(two) - time_ms(one) >= 1000, "not before it is due"
    assert time_ms(letter) - time_ms(two) >= 2000
    facts = parse_letter(letter_headers(letter))
    assert (facts.attempt, facts.error_code, len(facts.failures)) == (3, "out_of_memory", 3)
    assert own_headers(letter_headers(letter)) == [("mine", b"\xff"), ("mine", None)]
    outcome = fleet.outcome(derived.decode())
    assert (outcome.status, outcome.attempts, outcome.origin) == ("failed", 3, f"{fleet.settings.names.jobs()}-1-0")
    assert worker.drain() == 0
    first.close()
    second.close()


def test_who_asks_for_a_version_that_comes_later_waits_for_it_at_no_attempt(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(retry=TIERS | {"attempts": 1})
    worker = fleet.start().ready()
    waiting = RetryTail(fleet, "1s")
    fleet.publish(job(1, model_name="m", model_version="2"), "early")
    fleet.publish(job(1), "other")
    fleet.flush()
    assert fleet.outcome("other").status == "succeeded"
    waiting.until(2)
    write_model(fleet.settings.models["m"].path, "2")
    assert worker.drain() == 0
    fleet.start().ready()
    outcome = fleet.outcome("early")
    assert (outcome.status, outcome.attempts, outcome.model_version) == ("succeeded", 1, "2")
    waiting.close()


def test_expired_jobs_are_not_tried_and_who_would_expire_waiting_ends_at_once(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(retry={"tiers": ["1h"]})
    fleet.start(path=[HERE / "fast_clock"]).ready()
    fleet.publish(job(NO_MEMORY, timeout_us=60_000_000), "short")
    fleet.publish(job(1, timeout_us=60_000_000), "in-time")
    fleet.publish(job(1), "late", headers=[("ce_deadline", b"2020-01-01T00:00:00Z")])
    fleet.flush()
    short, in_time, late = fleet.outcomes("short", "in-time", "late")
    assert (short.status, short.error_code) == ("failed", "out_of_memory")
    assert in_time.status == "succeeded", "by the broker's clock it has a minute, whatever the worker's says"
    assert (late.status, late.error_code) == ("expired", "deadline_exceeded")


def test_a_model_that_fails_every_job_rests_and_comes_back(make_fleet: MakeFleet, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    rest = {"tiers": ["1s"], "breaker_failures": 5, "breaker_seconds": 0}
    fleet = make_fleet(fails=broken, retry=rest, worker={"metrics_port": 0})
    worker = fleet.start().ready()
    for name in names("j", range(4)):
        fleet.publish(job(1), name)
    fleet.flush()
    assert {outcome.error_code for outcome in fleet.outcomes(*names("j", range(4)))} == {"model_error"}
    fleet.publish(job(1), "k-20")
    fleet.flush()
    worker.until("every job of a model fails; its jobs wait, at no attempt, until one succeeds")
    assert get(worker, "/readyz") == (503, "every job of m fails\n")
    for name in names("k", range(20)):
        fleet.publish(job(1), name)
    fleet.flush()
    waiting = RetryTail(fleet, "1s")
    waiting.until(21)
    broken.unlink()
    outcomes = fleet.outcomes(*names("k", range(21)))
    assert {(outcome.status, outcome.attempts) for outcome in outcomes} == {("succeeded", 1)}
    worker.until("a model gives results again")
    assert get(worker, "/readyz") == (200, "ok\n")
    waiting.close()


def test_a_job_that_kills_whole_workers_costs_a_few_of_them_and_nobody_else_anything(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(retry=TIERS, kafka={"session_timeout": 6.0})
    jobs = names("j", range(40))
    for place, name in enumerate(jobs):
        fleet.publish(job(KILLS_WORKER if place == 17 else 1), name, partition=place % 2)
    fleet.flush()
    deaths = 0
    worker = fleet.start()
    while died_before_all_was_done(fleet, worker):
        deaths += 1
        assert deaths < 10
        worker = fleet.start()
    outcomes = fleet.outcomes(*jobs)
    assert {outcome.attempts for outcome in outcomes[:17] + outcomes[18:]} == {1}
    assert {outcome.status for outcome in outcomes[:17] + outcomes[18:]} == {"succeeded"}
    assert (outcomes[17].error_code, outcomes[17].attempts) == ("engine_crash", 3)
    assert deaths == 6, "twice unnoticed, in a chunk, alone, and alone in each further try"
    (letter,) = fleet.letters(jobs[17]).values()
    assert [failure["code"] for failure in parse_letter(letter_headers(letter)).failures] == ["engine_crash"] * 3
    assert worker.drain() == 0


def test_nothing_is_left_behind_a_transactions_mark(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.start().ready()
    producer = Producer({"bootstrap.servers": fleet.settings.kafka.bootstrap_servers, "transactional.id": fleet.settings.fleet})
    producer.init_transactions(30)
    for number, commit in enumerate((True, False, True)):
        producer.begin_transaction()
        producer.produce(fleet.settings.names.jobs(), job(1), f"t-{number}", 0)
        assert producer.flush(30) == 0
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    fleet.outcomes("t-0", "t-2")
    eventually(lambda: fleet.committed() == fleet.ends(), "no lag")
    assert "t-1" not in fleet.answered_now(), "what was not committed never was"
