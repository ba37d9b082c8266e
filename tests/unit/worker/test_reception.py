"""A Kafka that takes nothing: told by the probe, and in the log once when it begins and once when it is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from tests.unit.worker.bench import a_bench, an_answer, publish, taken_in

from penstock_schemas.settings import Settings
from penstock_worker.readiness import why_not_ready
from penstock_worker.settle.reception import Reception

Captured = pytest.CaptureFixture[str]


def looks(reception: Reception, now: list[float], seconds: float, *, heard: bool = False, waiting: int = 3) -> None:
    """A loop that comes round every half second."""
    for _ in range(int(seconds * 2)):
        now[0] += 0.5
        reception.look(heard=heard, waiting=waiting)


def test_silence_is_told_once_and_so_is_its_end(capsys: Captured) -> None:
    now = [100.0]
    reception = Reception(lambda: now[0])
    looks(reception, now, 60, waiting=0)
    looks(reception, now, 60, heard=True)
    assert reception.problem is None
    looks(reception, now, 4)
    assert reception.problem is None
    looks(reception, now, 8)
    assert reception.problem == "Kafka has confirmed no record for 12 s"
    looks(reception, now, 1, heard=True)
    assert reception.problem is None
    looks(reception, now, 20)
    looks(reception, now, 1, waiting=0)
    said = capsys.readouterr().out
    assert [said.count(text) for text in ("confirms no records; waiting", "confirms records again")] == [2, 2]


def test_a_loop_that_was_stopped_blames_nobody() -> None:
    now = [100.0]
    reception = Reception(lambda: now[0])
    looks(reception, now, 2)
    now[0] += 60
    looks(reception, now, 2)
    assert reception.problem is None


def test_a_refusal_is_told_once_until_it_is_over(capsys: Captured) -> None:
    now = [100.0]
    reception = Reception(lambda: now[0])
    for _ in range(20):
        reception.refused("f.outcomes", "not authorized")
        looks(reception, now, 1, heard=True)
    assert reception.problem == "Kafka does not take records of f.outcomes: not authorized"
    looks(reception, now, 6, heard=True)
    assert reception.problem is None
    reception.refused("f.outcomes", "not authorized")
    said = capsys.readouterr().out
    assert [said.count(text) for text in ("does not take records", "takes records again")] == [2, 1]


def test_an_outbox_tells_what_became_of_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = a_bench(Settings(fleet="f"), monkeypatch)
    publish(bench, taken_in([b"a"]), an_answer(0))
    bench.taken()
    (record,) = bench.last
    for _ in range(20):
        bench.now[0] += 0.5
        bench.outbox.poll()
    assert bench.outbox.problem == "Kafka has confirmed no record for 10 s"
    bench.then(lambda: record.refuse(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    problem = bench.outbox.problem
    assert problem is not None
    assert problem.startswith("Kafka does not take records of f.outcomes: ")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"engines": "engine on cpu: is starting"}, "engine on cpu: is starting"),
        ({"joined": False}, "is not in the consumer group"),
        ({"outcomes": "Kafka takes no outcomes for now"}, "Kafka takes no outcomes for now"),
        ({"down": "no Kafka broker can be reached"}, "no Kafka broker can be reached"),
        ({"failing": ["digits", "faces"]}, "every job of digits, faces fails"),
        ({"topics": "topics are missing: f.jobs"}, "topics are missing: f.jobs"),
        ({"topics": "topics are missing: f.jobs", "joined": False}, "topics are missing: f.jobs"),
        ({}, None),
    ],
)
def test_a_worker_is_ready_when_nothing_keeps_it_from_finishing_jobs(wrong: dict[str, Any], told: str | None) -> None:
    well: dict[str, Any] = {"engines": None, "joined": True, "outcomes": None, "down": None, "failing": [], "topics": None}
    now = SimpleNamespace(**well | wrong)
    parts: list[Any] = [
        SimpleNamespace(problem=lambda: now.engines),
        SimpleNamespace(joined=now.joined, health=SimpleNamespace(problem=now.down)),
        SimpleNamespace(problem=now.outcomes),
        SimpleNamespace(unready=lambda _: now.failing),
        SimpleNamespace(problem=now.topics),
    ]
    assert why_not_ready(*parts) == told
