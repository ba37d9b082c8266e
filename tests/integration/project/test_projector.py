"""Outcomes from a real topic into a real Redis, which is flushed, replaced, stopped and killed meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.integration.project.fleet import Fleet, projecting
from tests.support import MakeTopics, RedisFactory, SettingsFactory, eventually

from penstock.topics import TopicManager
from penstock_worker.project import StoreUnsuitable, consumer, plan
from penstock_worker.project.position import Cause

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def fleet(settings: SettingsFactory, make_topics: MakeTopics) -> Iterator[MakeFleet]:
    """``fleet(redis={"url": …})``: a fleet with its topics made."""
    with ExitStack() as stack:

        def make(**sections: Any) -> Fleet:
            made = settings(**sections)
            make_topics(made)
            return Fleet(made, stack)

        yield make


def jobs(count: int, letter: str = "j") -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def test_the_first_outcome_is_the_result_for_its_time_and_its_client_is_told(fleet: MakeFleet) -> None:
    one = fleet(result_ttl=1000)
    with one.client.pubsub(ignore_subscribe_messages=True) as hints, projecting(one.settings) as figures:
        hints.subscribe(one.names.wake_channel("me"))
        hints.get_message(timeout=5)
        before = time.time()
        one.publish("a", "b")
        one.publish("a", text="second")
        one.put(b"g", b"garbage")
        one.put(None, None)
        one.publish("mended", "late", generation=1, text="mended")
        one.publish("mended", text="older")
        one.publish("other", reply_to="you")
        eventually(lambda: figures.written + figures.present + figures.garbage == 9, "all nine records were projected")
        assert one.texts() == {"a": "first", "b": "first", "mended": "mended", "late": "mended", "other": "first"}
        expires = one.client.pexpiretime(one.names.result_key("a")) if _has_pexpiretime(one.client) else None
        left = one.client.ttl(one.names.result_key("a"))
        assert before + 1000 - 60 < time.time() + left < time.time() + 1001
        assert expires is None or expires / 1000 - 1000 >= before - 1
        told: list[str] = []

        def all_told() -> bool:
            message = hints.get_message(timeout=0.1)
            if message is not None:
                told.extend(message["data"].decode().split("\n"))
            return set(told) >= {"a", "b", "mended", "late"}

        eventually(all_told, "the client was told of its results")
        assert "other" not in told


def _has_pexpiretime(client: Any) -> bool:
    return int(client.info("server")["redis_version"].split(".")[0]) >= 7


@pytest.fixture
def backdated(settings: SettingsFactory) -> Iterator[Fleet]:
    """A fleet whose topic takes the producer's word for a record's time, so that nobody has to wait for old ones."""
    made = settings(result_ttl=1000)
    admin: Any = AdminClient({"bootstrap.servers": made.kafka.bootstrap_servers})
    topic = NewTopic(made.names.outcomes, 1, 1, config={"message.timestamp.type": "CreateTime"})
    admin.create_topics([topic])[made.names.outcomes].result(30)
    with ExitStack() as stack:
        yield Fleet(made, stack)
    admin.delete_topics([made.names.outcomes])[made.names.outcomes].result(30)


def test_what_had_its_time_is_not_written(backdated: Fleet) -> None:
    now = time.time()
    backdated.put_at(now - 1001, "old")
    backdated.put_at(now - 400, "young")
    with projecting(backdated.settings):
        eventually(lambda: backdated.text("young"), "the young one is there")
        assert backdated.client.ttl(backdated.names.result_key("young")) <= 600
        backdated.put_at(now - 1001, "late")
        backdated.put_at(now, "last")
        eventually(lambda: backdated.text("last"), "the last one is there")
        assert backdated.texts().keys() == {"young", "last"}


def test_a_projector_goes_on_where_the_last_one_stopped(fleet: MakeFleet) -> None:
    one = fleet()
    ids = jobs(500)
    one.publish(*ids)
    with projecting(one.settings):
        eventually(one.all_there(ids), "all results are there")
    one.publish("next", "j1", text="second")
    with projecting(one.settings) as figures:
        eventually(lambda: figures.written + figures.present == 2, "the new records were projected")
        assert (figures.written, figures.present) == (1, 1)
        assert set(figures.causes) == {Cause.CONTINUED}
    assert one.text("j1") == "first"


@pytest.mark.parametrize("idle", [True, False])
def test_a_flush_heals_and_wakes_nobody(
    fleet: MakeFleet, own_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch, *, idle: bool
) -> None:
    monkeypatch.setattr(plan, "LIVE_MS", 0)  # nobody has to wait here until outcomes are old
    one = fleet(redis={"url": own_redis().url})
    ids = jobs(3000)
    one.publish(*ids)
    with one.client.pubsub(ignore_subscribe_messages=True) as hints, projecting(one.settings) as figures:
        eventually(one.all_there(ids), "all results are there")
        eventually(lambda: figures.written >= 3000, "and were heard of")
        hints.subscribe(one.names.wake_channel("me"))
        hints.get_message(timeout=5)
        one.client.flushall()
        if not idle:
            one.publish("more")
        eventually(one.all_there(ids), "all results are there again")
        one.publish("last")
        heard: list[str] = []

        def last_told() -> bool:
            message = hints.get_message(timeout=0.1)
            heard.extend(message["data"].decode().split("\n") if message else [])
            return "last" in heard

        eventually(last_told, "the client was told of the last one")
        assert set(heard) <= {"last", "more"}


def test_an_older_copy_put_back_heals(fleet: MakeFleet, own_redis: RedisFactory, tmp_path: Path) -> None:
    server = own_redis()
    one = fleet(redis={"url": server.url})
    first, second = jobs(300, "a"), jobs(300, "b")
    with projecting(one.settings) as figures:
        one.publish(*first)
        eventually(one.all_there(first), "the first results are there")
        one.client.save()
        copy = tmp_path / "redis-0" / "dump.rdb"
        shutil.copy(copy, tmp_path / "copy.rdb")
        one.publish(*second)
        eventually(lambda: figures.written == 600, "all results are there")
        server.kill()
        shutil.copy(tmp_path / "copy.rdb", copy)
        server.start()
        eventually(one.all_there(first + second), "all results are there again")
        assert Cause.OLDER in figures.causes
        one.publish(*second, "new", text="second")
        eventually(lambda: one.text("new"), "and it goes on")
        assert set(one.texts().values()) == {"first", "second"}
        assert {job_id for job_id, text in one.texts().items() if text == "second"} == {"new"}


def test_redis_away_for_a_while(fleet: MakeFleet, own_redis: RedisFactory, capfd: pytest.CaptureFixture[str]) -> None:
    server = own_redis(args=["--appendonly", "yes", "--appendfsync", "always"])
    one = fleet(redis={"url": server.url})
    before, meanwhile, after = jobs(200, "a"), jobs(200, "b"), jobs(200, "c")
    with projecting(one.settings) as figures:
        one.publish(*before)
        eventually(lambda: figures.written == 200, "the first results were projected")
        server.kill()
        one.publish(*meanwhile)
        eventually(lambda: figures.available == [True, False], "the projector noticed")
        one.publish(*meanwhile, *before, text="second")
        server.start()
        one.publish(*after)
        eventually(one.all_there(before + meanwhile + after), "all results are there")
        eventually(lambda: figures.available == [True, False, True], "the projector noticed that, too")
        eventually(lambda: figures.behind == 0, "nothing is left")
        assert set(one.texts().values()) == {"first"}
        # Nothing was written twice, and nothing was read twice but what the server had not answered for.
        assert (figures.written, figures.present) == (600, 400)
    log = capfd.readouterr().out
    assert log.count("Redis takes no results") == 1
    assert log.count("Redis takes results again") == 1
    assert log.count("partitions assigned") == 1


def test_a_hung_redis(fleet: MakeFleet, own_redis: RedisFactory) -> None:
    """What was sent is carried out when it wakes, long after the projector gave up on it: it happens once all the same."""
    server = own_redis()
    one = fleet(redis={"url": server.url, "timeout": 0.5})
    ids = jobs(1000)
    with projecting(one.settings) as figures:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            one.publish(*ids)
            eventually(lambda: figures.available == [True, False], "the projector noticed")
            one.publish(*ids, text="second")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        eventually(one.all_there(ids), "all results are there")
        eventually(lambda: figures.behind == 0, "nothing is left")
        assert set(one.texts().values()) == {"first"}


def test_redis_that_comes_late(fleet: MakeFleet, own_redis: RedisFactory) -> None:
    server = own_redis()
    one = fleet(redis={"url": server.url})
    server.kill()
    one.publish("a")
    with projecting(one.settings, wait=False) as figures:
        eventually(lambda: figures.available == [False], "the projector noticed that there is no Redis")
        server.start()
        eventually(lambda: one.text("a"), "the result is there")


def test_projectors_share_the_partitions_and_take_over(fleet: MakeFleet) -> None:
    one = fleet()
    everything: list[str] = []

    def publish(letter: str) -> None:
        everything.extend(jobs(400, letter))
        one.publish(*jobs(400, letter))
        one.publish(*jobs(400, letter), text="second")

    with projecting(one.settings) as last:
        with projecting(one.settings) as other:
            publish("a")
            eventually(lambda: other.causes, "the second one has partitions")
            publish("b")
            eventually(one.all_there(everything), "all results are there")
            publish("c")
        publish("d")
        eventually(one.all_there(everything), "all results are there")
        eventually(lambda: last.behind == 0, "nothing is left")
        assert set(one.texts().values()) == {"first"}


def test_a_zombie_changes_nothing(fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two projectors that both believe the partitions to be theirs: the position lets only one apply each record."""
    one = fleet()
    usual = consumer.consumer_properties
    ids = jobs(5000)
    with projecting(one.settings) as first:
        monkeypatch.setattr(
            consumer, "consumer_properties", lambda settings: usual(settings) | {"group.id": f"{settings.fleet}.zombies"}
        )
        with projecting(one.settings) as second:
            one.publish(*ids)
            one.publish(*ids, text="second")
            eventually(one.all_there(ids), "all results are there")
            eventually(
                lambda: first.written + first.present + second.written + second.present >= 10_000, "each record is applied"
            )
            eventually(lambda: first.behind == 0 and second.behind == 0, "both are at the end")
            assert set(one.texts().values()) == {"first"}
            # Each record was applied by exactly one of them.
            assert first.written + second.written == 5000
            assert first.present + second.present == 5000


def test_a_topic_made_again(fleet: MakeFleet) -> None:
    one = fleet()
    with projecting(one.settings) as figures:
        one.publish(*jobs(100, "a"))
        eventually(lambda: figures.written == 100, "the results of the first topic are there")
        manager = TopicManager(one.settings)
        manager.delete()
        eventually(lambda: not manager.apply(), "the topics are made again")
        one.publish(*jobs(20, "b"))
        eventually(one.all_there(jobs(20, "b")), "the results of the second topic are there")
        eventually(lambda: Cause.OTHER_TOPIC in figures.causes, "the projector knows that it is another topic")
        one.publish(*jobs(200, "c"))
        eventually(one.all_there(jobs(200, "c")), "and it goes on")


def test_a_redis_that_evicts_is_refused(fleet: MakeFleet, own_redis: RedisFactory) -> None:
    one = fleet(redis={"url": own_redis(args=["--maxmemory-policy", "allkeys-lru"]).url})
    with pytest.raises(StoreUnsuitable, match="noeviction"), projecting(one.settings):
        pass
