"""A worker from its start to its end: waiting for models, probes, pausing, draining, gaps in the log."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from confluent_kafka import TopicPartition
from tests.backends.numpy_models import write_model
from tests.integration.worker.conftest import make_settings
from tests.integration.worker.fleet import Fleet, MakeFleet, WorkerProcess, job, names
from tests.support import KafkaFactory, RedisFactory, eventually, frozen


def publish(fleet: Fleet, prefix: str, count: int, *, partition: int = -1, queue: str = "") -> list[str]:
    for number in range(count):
        fleet.publish(job(number + 1), f"{prefix}-{number}", partition=partition, queue=queue)
    fleet.flush()
    return names(prefix, range(count))


def get(worker: WorkerProcess, path: str) -> tuple[int, str]:
    """What the worker's probe or metrics port answers."""
    (line,) = worker.until("metrics served")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{line['port']}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def errors(fleet: Fleet, jobs: list[str]) -> dict[str, str | None]:
    """Which of these jobs did not succeed, and why."""
    return {outcome.id: outcome.error for outcome in fleet.outcomes(*jobs) if outcome.status != "succeeded"}


def test_jobs_of_a_model_that_is_not_there_yet_wait_and_the_probes_say_so(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(model=False, worker={"metrics_port": 0})
    jobs = publish(fleet, "j", 3)
    worker = fleet.start()
    (line,) = worker.until("a declared model is not there yet; its jobs wait")
    path = fleet.settings.models["m"].path
    assert line["reason"] == f"model 'm': there is no folder {path}"
    assert get(worker, "/livez") == (200, "ok\n")
    assert get(worker, "/readyz") == (503, f"engine on cpu: model 'm': there is no folder {path}\n")
    write_model(path)
    assert errors(fleet, jobs) == {}
    worker.ready()
    assert get(worker, "/readyz") == (200, "ok\n")
    fleet.publish(b"garbage", "bad")
    fleet.flush()
    fleet.outcome("bad")
    status, text = get(worker, "/metrics")
    assert status == 200
    assert 'penstock_rows_total{model="m",version="1"} 3.0' in text
    assert 'penstock_outcomes_total{code="invalid_job"} 1.0' in text
    assert 'penstock_outcomes_total{code=""} 3.0' in text


def test_after_a_drain_all_that_was_answered_is_committed_and_nothing_is_repeated(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(batch_seconds=0.15, worker={"delivery_records": 2, "window": 2})
    worker = fleet.start().ready()
    jobs = publish(fleet, "j", 24)
    fleet.outcome("j-0")
    assert worker.drain() == 0
    (line,) = worker.lines("stopped")
    assert line["unsettled"] == 0
    done = sum(fleet.committed().values())
    assert 0 < done < 24, "it was stopped under way"
    fleet.start().ready()
    assert errors(fleet, jobs) == {}
    assert Counter(fleet.answered()) == Counter(jobs)
    eventually(lambda: fleet.committed() == fleet.ends(), "all is committed")


def test_a_slow_model_costs_no_membership_and_a_second_signal_ends_at_once(make_fleet: MakeFleet) -> None:
    # The model takes longer than the group waits for a consumer that does not poll.
    patience = {"session_timeout": 6.0, "properties": {"max.poll.interval.ms": 6000}}
    fleet = make_fleet(batch_seconds=7.5, kafka=patience, worker={"delivery_records": 1, "window": 2})
    worker = fleet.start().ready()
    publish(fleet, "j", 6, partition=0)
    fleet.outcomes("j-0")
    assert worker.lines("partitions revoked") == []
    assert worker.lines("partitions lost: the group went on without us") == []
    topics = [{place.rpartition("-")[0] for place in line["partitions"]} for line in worker.lines("partitions assigned")]
    assert len(topics) == 2, "once for its jobs, and once for its retries"
    eventually(lambda: fleet.committed()[0] >= 1, "what is done is committed while the next one runs")
    processes = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children()]
    worker.terminate()
    worker.until("draining")
    worker.terminate()
    assert worker.ended() in {128 + signal.SIGTERM, -signal.SIGTERM}
    gone, alive = psutil.wait_procs(processes[1:], timeout=30)
    assert (len(gone), alive) == (2, []), "the engine and its spare end with their parent"
    assert fleet.committed()[0] < 6, "what was in flight is another worker's"


def test_jobs_that_retention_deleted_unread_are_one_letter_with_their_range(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    publish(fleet, "first", 4, partition=1)
    worker = fleet.start().ready()
    fleet.outcome("first-3")
    assert worker.drain() == 0
    publish(fleet, "later", 6, partition=1)
    publish(fleet, "other", 2, partition=0)
    deleted = TopicPartition(fleet.settings.names.jobs(), 1, 4 + 3)
    for future in fleet.admin.delete_records([deleted]).values():
        future.result(30)
    worker = fleet.start().ready()
    assert errors(fleet, ["later-3", "later-4", "later-5", "other-0", "other-1"]) == {}
    assert fleet.gaps(1) == ["4-6"]
    (line,) = worker.lines("jobs could not be read")
    assert (line["partition"], line["first"], line["last"]) == (1, 4, 6)
    eventually(lambda: fleet.committed() == fleet.ends(), "the gap is behind us")
    assert worker.drain() == 0


def test_several_queues_and_outcomes_over_their_limit(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(worker={"queues": ["", "slow"]}, topics={"max_outcome_bytes": 4096})
    fleet.start().ready()
    jobs = publish(fleet, "j", 20) + publish(fleet, "s", 20, queue="slow")
    fleet.publish(job(1, rows=2000), "large")
    fleet.flush()
    assert errors(fleet, jobs) == {}
    assert fleet.outcome("s-7").origin == f"{fleet.settings.names.jobs('slow')}-{_place(fleet, 's-7')}"
    large = fleet.outcome("large")
    assert large.error_code == "outcome_too_large"
    assert "4096" in (large.error or "")
    assert fleet.letters("large")["large"].value() == job(1, rows=2000)
    for queue in ("", "slow"):
        eventually(lambda queue=queue: fleet.committed(queue) == fleet.ends(queue), "all is committed")  # type: ignore[misc]


def _place(fleet: Fleet, job_id: str) -> str:
    origin = fleet.outcome(job_id).origin or ""
    _, partition, offset = origin.rsplit("-", 2)
    assert partition.isdecimal()
    assert offset.isdecimal()
    return f"{partition}-{offset}"


def test_the_newer_group_protocol_works(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(kafka={"group_protocol": "consumer"})
    worker = fleet.start().ready()
    jobs = publish(fleet, "j", 20)
    assert errors(fleet, jobs) == {}
    described = fleet.admin.describe_consumer_groups([fleet.settings.names.workers_group])
    kinds = {str(future.result(30).type) for future in described.values()}
    assert any("CONSUMER" in kind for kind in kinds)
    assert worker.drain() == 0
    assert fleet.committed() == fleet.ends()


def test_wrong_topics_end_a_worker_with_what_to_do(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    stricter = fleet.settings.model_copy(
        update={"topics": fleet.settings.topics.model_copy(update={"max_outcome_bytes": 2**24})}
    )
    worker = fleet.start(stricter)
    assert worker.ended() == 2
    (line,) = worker.lines("cannot start")
    assert "max.message.bytes is 8388608, wanted: 16777216" in line["reason"]
    assert "penstock topics apply" in line["reason"]


def test_an_engine_that_does_not_stay_up_ends_its_worker_with_nothing_committed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    jobs = publish(fleet, "j", 3)
    broken = fleet.settings.worker.model_copy(update={"backend": "no_such_backend"})
    worker = fleet.start(fleet.settings.model_copy(update={"worker": broken}))
    assert worker.ended() == 1
    (line,) = worker.lines("the worker ends")
    assert line["reason"].startswith("the engine on cpu did not stay up for 5 starts in a row")
    assert set(fleet.committed().values()) == {0}
    fleet.start().ready()
    assert errors(fleet, jobs) == {}


def test_a_worker_whose_model_is_gone_leaves_its_jobs_to_those_that_have_it(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(retry={"model_grace": 1.0})
    workers = [fleet.start(), fleet.start()]
    for worker in workers:
        worker.ready().until("partitions assigned")
    path = fleet.settings.models["m"].path
    path.rename(path.with_name("gone"))
    left, stays = workers
    for engine in psutil.Process(left.process.pid).children():
        engine.kill()
    jobs = publish(fleet, "j", 20)
    assert left.ended() == 1
    (line,) = left.lines("the worker ends")
    assert line["reason"].startswith(f"engine on cpu: model 'm': there is no folder {path}; others may have it")
    assert errors(fleet, jobs) == {}
    assert stays.drain() == 0


@pytest.mark.timeout(360)
def test_a_worker_says_that_kafka_does_not_answer_and_goes_on_by_itself(own_kafka: KafkaFactory, tmp_path: Path) -> None:
    kafka = own_kafka()
    begun = tmp_path / "begun"
    path = write_model(tmp_path / "m", batch_seconds=3.0, begun=begun)
    models = {"m": {"path": str(path)}}
    fleet = Fleet(make_settings(kafka, models, worker={"backend": "numpy_models", "metrics_port": 0}), tmp_path / "fleet")
    with closing(fleet):
        worker = fleet.start().ready()
        assert get(worker, "/readyz") == (200, "ok\n")
        jobs = publish(fleet, "j", 1)
        eventually(begun.exists, "it is with the model")
        with frozen(kafka.pid):
            eventually(lambda: get(worker, "/readyz")[1].startswith("Kafka has confirmed no record for "), "it says so")
        assert errors(fleet, jobs) == {}
        # A member whose request to join was lost on the way asks again after max.poll.interval.ms, 40 s here, not before.
        eventually(lambda: get(worker, "/readyz") == (200, "ok\n"), "it is ready again", 90)
        with frozen(kafka.pid):
            eventually(lambda: get(worker, "/readyz") == (503, "is not in the consumer group\n"), "so does one without jobs")
        eventually(lambda: get(worker, "/readyz") == (200, "ok\n"), "it has joined again", 90)
        assert worker.drain() == 0
        assert [len(worker.lines(f"Kafka confirms {what}")) for what in ("no records; waiting", "records again")] == [1, 1]


def test_a_projector_says_which_service_is_away(own_kafka: KafkaFactory, own_redis: RedisFactory, tmp_path: Path) -> None:
    kafka, redis = own_kafka(), own_redis()
    models = {"m": {"path": str(write_model(tmp_path / "m"))}}
    sections = {"worker": {"roles": ["project"], "metrics_port": 0}, "redis": {"url": redis.url}}
    with closing(Fleet(make_settings(kafka, models, **sections), tmp_path / "fleet")) as fleet:
        projector = fleet.start()

        def becomes(status: int, text: str) -> None:
            eventually(lambda: get(projector, "/readyz") == (status, f"{text}\n"), text, 60)

        becomes(200, "ok")
        redis.kill()
        becomes(503, "Redis takes no results")
        redis.start()
        becomes(200, "ok")
        kafka.kill()
        becomes(503, "no Kafka broker can be reached")
        kafka.start()
        becomes(200, "ok")
        assert projector.drain() == 0
        events = ["Redis takes no results; trying again until it does", "Redis takes results again"]
        for event in [*events, "no broker can be reached; waiting", "Kafka can be reached again"]:
            assert len(projector.lines(event)) == 1, event
