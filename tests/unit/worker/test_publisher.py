"""Settling: a letter is confirmed before its outcome is published, the outcome alone settles, nothing is given up."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError
from tests.unit.worker.bench import Bench, a_bench, an_answer, publish, taken_in
from tests.unit.worker.making import a_delivery

from penstock_schemas.dead import parse_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.outcomes import decode_outcome, encode_failed
from penstock_schemas.retries import Tries, build_retry_headers, is_probe, parse_tries
from penstock_schemas.settings import Settings
from penstock_worker.engine.wire import Failure
from penstock_worker.intake.ledger import Entry
from penstock_worker.settle.outbox import producer_properties
from penstock_worker.settle.policy import Killed

TIMED_OUT = KafkaError._MSG_TIMED_OUT
TOO_LARGE = KafkaError.MSG_SIZE_TOO_LARGE


def settings_of(**sections: Any) -> Settings:
    return Settings(fleet="f", **sections)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return a_bench(settings_of(topics={"max_job_bytes": 5000, "max_outcome_bytes": 4096}), monkeypatch)


FAILURE = Failure("model_error", "it said no", "Traceback")


def test_outcomes_settle_when_they_are_confirmed_and_not_before(bench: Bench) -> None:
    delivery = taken_in([b"a", b"b"])
    publish(bench, delivery, an_answer(1, 0))
    assert bench.taken() == [("outcomes", b"k1"), ("outcomes", b"k0")]
    assert [record.value_ for record in bench.last] == [b"outcome 1", b"outcome 0"]
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (2, 2)
    bench.then(bench.last[0].confirm)
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (1, 1)
    bench.then(bench.last[1].confirm)
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (0, 0)


def test_ids_that_are_not_keys_become_keys(bench: Bench) -> None:
    publish(bench, taken_in([b"a", b"b"], keys=[None, b"x"]), an_answer(0, 1, keys=[b"id0", b"id1"]))
    assert bench.taken() == [("outcomes", b"id0"), ("outcomes", b"id1")]


def test_each_outcome_settles_its_own_partitions_entry(bench: Bench) -> None:
    delivery = a_delivery([b""] * 4, partitions=[0, 0, 1, 1])
    delivery.entries = [Entry(("f.jobs", 0), 2, 2), Entry(("f.jobs", 1), 2, 2)]
    delivery.which = np.array([0, 0, 1, 1], np.int32)
    publish(bench, delivery, an_answer(3, 0, 2))
    bench.taken()
    bench.then(bench.last[0].confirm)
    assert [entry.unsettled for entry in delivery.entries] == [2, 1]
    bench.then(bench.last[1].confirm, bench.last[2].confirm)
    assert [entry.unsettled for entry in delivery.entries] == [1, 0]


def test_a_failed_jobs_outcome_waits_for_its_letter(bench: Bench) -> None:
    delivery = taken_in([b"good", b"bad"], headers={1: [("mine", None)]})
    publish(bench, delivery, an_answer(0, 1, failures={1: FAILURE}))
    assert bench.taken() == [("outcomes", b"k0"), ("dead", b"k1")]
    outcome, letter = bench.last
    assert letter.value_ == b"bad"
    assert letter.headers_[-1] == ("mine", None)
    headers = dict(letter.headers_)
    assert (headers["penstock-origin"], headers["penstock-error-code"]) == (b"f.jobs-0-1", b"model_error")
    assert (headers["penstock-error"], headers["penstock-worker"]) == (b"it said no", b"worker-1")
    bench.then(outcome.confirm)
    bench.outbox.poll()
    assert bench.taken() == []
    bench.then(letter.confirm)
    assert delivery.entries[0].unsettled == 1, "a letter settles nothing"
    assert bench.outbox.unconfirmed == 1
    assert bench.taken() == [("outcomes", b"k1")]
    assert bench.last[0].value_ == b"outcome 1"
    bench.then(bench.last[0].confirm)
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (0, 0)


def test_jobs_that_were_answered_before_are_not_published_again(bench: Bench) -> None:
    delivery = taken_in([b"a", b"b", b"c"])
    delivery.answer(np.array([1]))
    publish(bench, delivery, an_answer(0, 1, 2, failures={1: FAILURE}))
    assert bench.taken() == [("outcomes", b"k0"), ("outcomes", b"k2")]
    publish(bench, delivery, an_answer(0, 1, 2))
    assert bench.taken() == []


def test_a_refused_record_is_published_again_as_it_was(bench: Bench) -> None:
    delivery = taken_in([b"a", b"bad"], headers={1: [("mine", b"x")]})
    publish(bench, delivery, an_answer(0, 1, failures={1: FAILURE}))
    bench.taken()
    before = [(record.value_, record.headers_) for record in bench.last]
    bench.then(*[partial(record.refuse, TIMED_OUT) for record in bench.last])
    assert bench.taken() == [], "not at once: it would be refused again"
    bench.now[0] += 5
    bench.outbox.poll()
    assert bench.taken() == [("outcomes", b"k0"), ("dead", b"k1")]
    assert [(record.value_, record.headers_) for record in bench.last] == before
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (2, 2)
    bench.then(*[record.confirm for record in bench.last])
    bench.taken()
    bench.then(bench.last[0].confirm)
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (0, 0)


def test_a_record_that_is_called_delivered_and_has_no_offset_is_published_again(bench: Bench) -> None:
    delivery = taken_in([b"a", b"bad", b"flaky"])
    publish(bench, delivery, an_answer(0, 1, 2, failures={1: FAILURE, 2: TRANSIENT}))
    before = bench.taken()
    assert [topic for topic, _ in before] == ["outcomes", "dead", "retry.10s"]
    bench.then(*[record.lose for record in bench.last])
    assert bench.taken() == []
    assert delivery.entries[0].unsettled == 3
    bench.now[0] += 5
    bench.outbox.poll()
    assert bench.taken() == before


def test_headers_that_the_message_of_a_callback_does_not_hold_are_published_again_too(bench: Bench) -> None:
    delivery = taken_in([b"bad"])
    publish(bench, delivery, an_answer(0, failures={0: FAILURE}))
    bench.taken()
    letter = bench.last[0]
    before, letter.headers_ = letter.headers_, None  # confluent_kafka's messages have none in delivery callbacks
    bench.then(lambda: letter.refuse(TIMED_OUT))
    bench.now[0] += 5
    bench.outbox.poll()
    assert bench.taken() == [("dead", b"k0")]
    assert bench.last[0].headers_ == before


def test_an_outcome_that_the_broker_finds_too_large_becomes_a_failed_one(bench: Bench) -> None:
    delivery = taken_in([b"a"])
    large = encode_failed(
        id=b"k0",
        status="failed",
        error=JobError(ErrorCode.MODEL_ERROR, "x" * 3000),
        origin="f.jobs-0-0",
        reply_to="me",
        generation=2,
    )
    publish(bench, delivery, an_answer(0)._replace(values=[large]))
    bench.taken()
    bench.then(lambda: bench.last[0].refuse(TOO_LARGE))
    bench.now[0] += 5
    bench.outbox.poll()
    assert bench.taken() == [("outcomes", b"k0")]
    outcome = decode_outcome(bench.last[0].value_ or b"")
    assert (outcome.id, outcome.status, outcome.error_code) == ("k0", "failed", "outcome_too_large")
    assert (outcome.origin, outcome.reply_to, outcome.generation) == ("f.jobs-0-0", "me", 2)
    assert str(len(large)) in (outcome.error or "")
    bench.then(bench.last[0].confirm)
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (0, 0)


def test_a_letter_over_its_limit_keeps_place_digest_and_error_without_the_body(bench: Bench) -> None:
    body = b"x" * (5000 + 65 * 1024)
    publish(bench, taken_in([body]), an_answer(0, failures={0: FAILURE}))
    assert bench.taken() == [("dead", b"k0")]
    headers = dict(bench.last[0].headers_)
    assert bench.last[0].value_ == b""
    assert headers["penstock-origin"] == b"f.jobs-0-0"
    assert headers["penstock-size"] == str(len(body)).encode()
    assert len(headers["penstock-digest"]) == 64


def test_a_letter_that_the_broker_finds_too_large_goes_without_its_body(bench: Bench) -> None:
    delivery = taken_in([b"x" * 4000])
    publish(bench, delivery, an_answer(0, failures={0: FAILURE}))
    bench.taken()
    bench.then(lambda: bench.last[0].refuse(TOO_LARGE))
    bench.now[0] += 5
    bench.outbox.poll()
    bench.taken()
    assert bench.last[0].value_ == b""
    headers = dict(bench.last[0].headers_)
    assert (headers["penstock-error-code"], headers["penstock-size"]) == (b"model_error", b"4000")
    bench.then(bench.last[0].confirm)
    assert bench.taken() == [("outcomes", b"k0")]
    bench.then(bench.last[0].confirm)
    assert delivery.entries[0].unsettled == 0


def test_a_full_local_queue_is_waited_out(bench: Bench) -> None:
    delivery = taken_in([b"a", b"b", b"c"])
    bench.producer.full = 2
    publish(bench, delivery, an_answer(0, 1, 2))
    assert bench.taken() == [("outcomes", b"k0"), ("outcomes", b"k1"), ("outcomes", b"k2")]
    assert bench.outbox.unconfirmed == 3


def test_a_record_that_is_refused_at_once_waits_alone(bench: Bench) -> None:
    delivery = taken_in([b"a", b"b", b"c"])
    bench.producer.refusing.extend([KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_TOPIC])
    publish(bench, delivery, an_answer(0, 1, 2))
    assert bench.taken() == [("outcomes", b"k1"), ("outcomes", b"k2")]
    bench.now[0] += 5
    bench.outbox.poll()
    assert bench.taken() == [("outcomes", b"k0")]
    assert bench.outbox.unconfirmed == 3


TRANSIENT = Failure("out_of_memory", "no room", "Traceback", "m", "3", 8)


def test_a_job_that_may_pass_is_settled_by_its_next_try(bench: Bench) -> None:
    delivery = taken_in([b"good", b"bad"], keys=[b"k0", None], headers={1: [("mine", None)]})
    retried = publish(bench, delivery, an_answer(0, 1, keys=[b"k0", b"id1"], failures={1: TRANSIENT}))
    assert bench.taken() == [("outcomes", b"k0"), ("retry.10s", None)], "its own key, and its own bytes"
    record = bench.last[1]
    assert record.value_ == b"bad"
    tries = parse_tries(record.headers_, topic="f.retry.10s", partition=0, offset=0, timestamp_ms=0, retried=True)
    assert (tries.origin, tries.attempt, tries.kills, tries.original) == ("f.jobs-0-1", 2, 0, [("mine", None)])
    assert [failure["version"] for failure in tries.failures] == ["3"]
    assert dict(record.headers_)["penstock-id"] == b"id1"
    assert retried == {("out_of_memory", "out_of_memory"): 1}
    bench.then(lambda: record.refuse(TIMED_OUT))
    assert delivery.entries[0].unsettled == 2
    bench.now[0] += 5
    bench.outbox.poll()
    assert bench.taken() == [("retry.10s", None)]
    bench.then(bench.last[0].confirm)
    assert delivery.entries[0].unsettled == 1


def test_the_last_try_ends_with_a_letter_that_tells_of_all(bench: Bench) -> None:
    headers: Any = build_retry_headers(
        Tries("f.jobs-2-7", 5, 4, 1, kills=1).failed(JobError(ErrorCode.ENGINE_CRASH, "it died"), time_ms=0, worker="w0"),
        job_id=b"k0", error=JobError(ErrorCode.ENGINE_CRASH, "it died"), worker="w0", due_ms=0,
    )  # fmt: skip
    delivery = taken_in([b"bad"], headers={0: headers})
    delivery.retried = True
    publish(bench, delivery, an_answer(0, failures={0: TRANSIENT}))
    assert bench.taken() == [("dead", b"k0")]
    facts = parse_letter(bench.last[0].headers_)
    assert (facts.origin, facts.attempt, facts.generation, facts.batch_rows) == ("f.jobs-2-7", 4, 1, 8)
    assert [failure["code"] for failure in facts.failures] == ["engine_crash", "out_of_memory"]


def test_a_second_kill_ends_a_job(bench: Bench) -> None:
    failure = Failure("engine_crash", "it died", "", "m")
    for kills, topic in ((0, "retry.10s"), (1, "dead")):
        headers: Any = build_retry_headers(
            Tries("f.jobs-2-7", 5, kills=kills),
            job_id=b"k0",
            error=JobError(ErrorCode.ENGINE_CRASH, ""),
            worker="w",
            due_ms=0,
        )
        delivery = taken_in([b"bad"], headers={0: headers})
        delivery.retried = True
        bench.publisher.publish(delivery, an_answer(0, failures={0: failure}), np.array([0]), killed=Killed.ENGINE)
        assert bench.taken() == [(topic, b"k0")]


def test_jobs_of_a_resting_model_wait_on_the_last_tier(bench: Bench) -> None:
    for now in (0.0, 100.0):
        bench.breaker.failed("m", 100, now)
    refused = Failure("model_error", "it said no", "", "m")
    why = publish(bench, taken_in([b"a"]), an_answer(0, failures={0: refused}))
    assert why == {("model_error", "model_unavailable"): 1}
    publish(bench, taken_in([b"b"]), an_answer(0, failures={0: refused._replace(code="invalid_input")}))
    publish(bench, taken_in([b"c"]), an_answer(0, failures={0: refused._replace(model="other")}))
    assert [topic for topic, _ in bench.taken()] == ["retry.10m", "dead", "dead"]


@pytest.mark.parametrize(("timeout_us", "header", "topic"), [
    (None, None, "retry.10s"),
    (105_000_000, None, "dead"),
    (115_000_000, None, "retry.10s"),
    (115_000_000, b"1970-01-01T00:01:45Z", "dead"),
])  # fmt: skip
def test_who_would_only_expire_ends_now(bench: Bench, timeout_us: int | None, header: bytes | None, topic: str) -> None:
    headers: Any = {0: [("ce_deadline", header)]} if header else {}
    delivery = taken_in([b"a"], times_ms=[0], headers=headers)  # the bench's time is 100 s
    publish(bench, delivery, an_answer(0, failures={0: TRANSIENT._replace(timeout_us=timeout_us)}))
    assert [name for name, _ in bench.taken()] == [topic]


def test_a_retry_that_its_topic_will_not_take_ends_the_job(bench: Bench) -> None:
    delivery = taken_in([b"bad"])
    publish(bench, delivery, an_answer(0, failures={0: TRANSIENT}))
    bench.taken()
    bench.then(lambda: bench.last[0].refuse(TOO_LARGE))
    assert bench.taken() == [("dead", b"k0")]
    bench.then(bench.last[0].confirm)
    assert bench.taken() == [("outcomes", b"k0")]
    bench.then(bench.last[0].confirm)
    assert (delivery.entries[0].unsettled, bench.outbox.unconfirmed) == (0, 0)


def test_the_brokers_time_is_asked_for(bench: Bench) -> None:
    told: list[int | None] = []
    bench.publisher.probe(told.append)
    assert bench.taken() == [("retry.10s", None)]
    (probe,) = bench.last
    assert is_probe(probe.headers_)
    bench.then(probe.confirm)
    bench.publisher.probe(told.append)
    bench.taken()
    bench.then(lambda: bench.last[0].refuse(TIMED_OUT))
    assert told == [1234, None]


def test_a_gap_is_one_letter_whose_confirmation_settles(bench: Bench) -> None:
    entry = Entry(("f.jobs", 2), 10, 1)
    bench.publisher.gap(("f.jobs", 2), 3, 9, "they were deleted", entry)
    bench.taken()
    (letter,) = bench.last
    assert dict(letter.headers_)["penstock-gap"] == b"3-9"
    assert letter.topic_ == "f.dead"
    bench.then(lambda: letter.refuse(TIMED_OUT))
    assert (entry.unsettled, bench.outbox.unconfirmed) == (1, 1)
    bench.now[0] += 5
    bench.outbox.poll()
    bench.taken()
    bench.then(bench.last[0].confirm)
    assert (entry.unsettled, bench.outbox.unconfirmed) == (0, 0)
    assert bench.taken() == []


def test_a_fatal_error_is_told_and_settles_nothing(bench: Bench) -> None:
    delivery = taken_in([b"a"])
    publish(bench, delivery, an_answer(0))
    bench.taken()
    bench.then(lambda: bench.last[0].refuse(KafkaError._FATAL, fatal=True))
    assert bench.outbox.fatal
    assert delivery.entries[0].unsettled == 1
    publish(bench, taken_in([b"b"]), an_answer(0))
    assert bench.outbox.close(0) >= 1


def test_closing_waits_for_confirmations_and_counts_what_is_left(bench: Bench) -> None:
    publish(bench, taken_in([b"a", b"b"]), an_answer(0, 1))
    bench.taken()
    confirm = bench.last[0].confirm

    def poll(timeout: float = 0) -> int:
        bench.now[0] += 1
        if bench.outbox.unconfirmed == 2:
            confirm()
        return 1

    bench.producer.poll = poll  # type: ignore[method-assign]
    assert bench.outbox.close(10) == 1


def test_the_producer_never_gives_up_and_shares_its_partitioner(bench: Bench) -> None:
    unsafe = {"partitioner": "random", "message.timeout.ms": 5}
    properties = producer_properties(settings_of(kafka={"properties": {"linger.ms": 3, **unsafe}}))
    assert properties["enable.idempotence"] is True
    assert properties["message.timeout.ms"] == 0
    assert properties["partitioner"] == "murmur2_random"
    assert properties["linger.ms"] == 3, "the user's own word counts where no promise rests on it"


@pytest.mark.parametrize(
    ("job", "outcome", "batch"), [(2**22, 2**23, 1_000_000), (2**22, 4096, 4096), (1024, 2**23, 1024 + 65536)]
)
def test_batches_are_no_larger_than_the_smaller_topic_takes(job: int, outcome: int, batch: int) -> None:
    settings = settings_of(topics={"max_job_bytes": job, "max_outcome_bytes": outcome})
    properties = producer_properties(settings)
    assert properties["batch.size"] == batch
    assert properties["message.max.bytes"] >= max(job + 65536, outcome)
