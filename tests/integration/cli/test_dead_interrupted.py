"""A redrive that is killed, interrupted, or overtaken by another: each letter's job is sent once all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from tests.integration.cli import killed_redrive
from tests.integration.cli.dead_letters import dead, environment, jobs_of, letter, read_topic, start_dead, write_letters
from tests.support import KafkaFactory, MakeTopics, SettingsFactory, eventually

from penstock.dead import redrive
from penstock_schemas.settings import Settings

MANY = 20_000
FEW = 1_200


@pytest.fixture
def fleet(settings: SettingsFactory, make_topics: MakeTopics) -> Settings:
    made = settings()
    make_topics(made)
    return made


def fill(fleet: Settings, count: int) -> list[str]:
    """Letters of jobs named by number; returns the names."""
    write_letters(fleet, (letter(f"j{number}", settings=fleet, offset=number) for number in range(count)))
    return [f"j{number}" for number in range(count)]


def killed(fleet: Settings, folder: Path, step: str, number: int) -> int:
    """A redrive that dies at this step of its transaction of this number; its exit code."""
    script = killed_redrive.__file__
    argv = [sys.executable, script, step, str(number), "dead", "redrive", "--yes"]
    return subprocess.run(argv, cwd=folder, env=environment(fleet), capture_output=True, check=False).returncode


def assert_each_went_once(fleet: Settings, names: Iterable[str]) -> None:
    """By the jobs topic as its readers see it, and by the records of the redrives."""
    jobs = Counter(key for key, _, _ in jobs_of(fleet))
    assert jobs == Counter(names)
    audits = Counter(
        dict(message.headers() or [])["penstock-redriven"]
        for message in read_topic(fleet, fleet.names.dead)
        if message.key() is None
    )
    assert len(audits) == len(jobs)
    assert set(audits.values()) == {1}


@pytest.mark.parametrize("step", ["begun", "produced", "sent", "committed"])
def test_a_redrive_killed_at_any_step_goes_on_where_it_was(fleet: Settings, tmp_path: Path, step: str) -> None:
    names = fill(fleet, FEW)
    assert killed(fleet, tmp_path, step, 2) == -signal.SIGKILL
    done = dead(fleet, tmp_path, "redrive", "--yes")
    assert done.returncode == 0, done.stderr
    before = 2 * redrive.BATCH if step == "committed" else redrive.BATCH
    assert f"{FEW - before:,} letters redriven; {before:,} left as they are" in done.stdout
    assert f"{before:,}  redriven before" in done.stdout
    assert_each_went_once(fleet, names)


@pytest.mark.timeout(300)
def test_twenty_thousand_letters_go_once_through_several_kills(fleet: Settings, tmp_path: Path) -> None:
    names = fill(fleet, MANY)
    for step, number in (("sent", 7), ("committed", 5), ("produced", 9)):
        assert killed(fleet, tmp_path, step, number) == -signal.SIGKILL
    done = dead(fleet, tmp_path, "redrive", "--yes")
    assert done.returncode == 0, done.stderr
    assert_each_went_once(fleet, names)


def test_letters_behind_a_dead_redrives_open_transaction_are_told_of_and_the_next_redrive_frees_them(
    fleet: Settings, tmp_path: Path
) -> None:
    names = fill(fleet, 3)
    dying: dict[str, str | int] = {
        "bootstrap.servers": fleet.kafka.bootstrap_servers,
        "transactional.id": f"{fleet.fleet}.redrive",
        "transaction.timeout.ms": 300_000,
    }
    producer = Producer(dying)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(fleet.names.dead, b"", headers=[("penstock-redriven", f"{fleet.names.jobs()}-0-0/0/1".encode())])
    producer.flush(30)
    write_letters(fleet, [letter("behind", settings=fleet, offset=9)])
    listed = dead(fleet, tmp_path, "list", "--json")
    assert len(listed.stdout.splitlines()) == 3
    assert "2 records cannot be read yet" in listed.stderr
    assert dead(fleet, tmp_path, "redrive", "--yes").returncode == 0
    assert_each_went_once(fleet, [*names, "behind"])


def test_ctrl_c_ends_a_redrive_with_its_sum_and_the_next_goes_on(fleet: Settings, tmp_path: Path) -> None:
    names = fill(fleet, FEW)
    running = start_dead(fleet, tmp_path, "redrive", "--yes", "--rate", "20/s")
    eventually(lambda: jobs_of(fleet), "some jobs are sent")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    sent = len(jobs_of(fleet))
    assert 0 < sent < FEW
    assert f"{sent:,} letters redriven" in said
    assert "the same command goes on with the rest" in said
    assert dead(fleet, tmp_path, "redrive", "--yes").returncode == 0
    assert_each_went_once(fleet, names)


def test_of_two_redrives_the_later_goes_on_and_the_earlier_says_so(fleet: Settings, tmp_path: Path) -> None:
    names = fill(fleet, FEW)
    earlier = start_dead(fleet, tmp_path, "redrive", "--yes", "--rate", "20/s")
    try:
        eventually(lambda: jobs_of(fleet), "some jobs are sent")
        later = dead(fleet, tmp_path, "redrive", "--yes")
        assert later.returncode == 0, later.stderr
        _, said = earlier.communicate(timeout=30)
        assert (earlier.returncode, "Traceback" in said) == (2, False), said
        assert "another `penstock dead redrive` of this fleet has begun" in said
        assert "%" not in said, "librdkafka says nothing beside us"
        assert_each_went_once(fleet, names)
    finally:
        earlier.kill()
        earlier.wait()


def test_a_frozen_redrive_that_wakes_after_another_sends_nothing_more(fleet: Settings, tmp_path: Path) -> None:
    names = fill(fleet, FEW)
    frozen = start_dead(fleet, tmp_path, "redrive", "--yes", "--rate", "20/s")
    try:
        eventually(lambda: jobs_of(fleet), "some jobs are sent")
        frozen.send_signal(signal.SIGSTOP)
        assert dead(fleet, tmp_path, "redrive", "--yes").returncode == 0
        frozen.send_signal(signal.SIGCONT)
        _, said = frozen.communicate(timeout=60)
        assert frozen.returncode == 2, said
        assert_each_went_once(fleet, names)
    finally:
        frozen.kill()
        frozen.wait()


def test_a_redrive_whose_kafka_dies_ends_when_asked_and_goes_on_later(
    settings: SettingsFactory, make_topics: MakeTopics, own_kafka: KafkaFactory, tmp_path: Path
) -> None:
    broker = own_kafka()
    fleet = settings(kafka={"bootstrap_servers": broker.bootstrap})
    make_topics(fleet)
    names = fill(fleet, FEW)
    running = start_dead(fleet, tmp_path, "redrive", "--yes", "--rate", "20/s")
    try:
        eventually(lambda: jobs_of(fleet), "some jobs are sent")
        broker.kill()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert (running.returncode, "Traceback" in said) == (130, False), said
    finally:
        running.kill()
        running.wait()
    broker.start()
    assert dead(fleet, tmp_path, "redrive", "--yes").returncode == 0
    assert_each_went_once(fleet, names)
