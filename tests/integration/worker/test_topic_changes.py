"""Topics are deleted, made again, and set to something else, while a worker works: it says so, waits, and goes on by itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import admin as kafka_admin
from tests.integration.worker.test_running import errors, get, publish
from tests.support import MakeTopics, SettingsFactory, eventually

from penstock.topics import TopicManager
from penstock_worker.topics import TopicWatch

if TYPE_CHECKING:
    from tests.integration.worker.fleet import MakeFleet

    from penstock_schemas.settings import Settings

ADMIN: Any = kafka_admin  # the library's types export none of its names


def change(settings: Settings, topic: str, key: str, value: str) -> None:
    admin = ADMIN.AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    entry = ADMIN.ConfigEntry(key, value, incremental_operation=ADMIN.AlterConfigOpType.SET)
    resource = ADMIN.ConfigResource(ADMIN.ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def wait_for_looks(watch: TopicWatch) -> None:
    """Until it is through with a few more looks: each puts other ids in place before it judges what it saw."""
    for _ in range(3):
        eventually(partial(is_another, watch, watch.ids), "it looks again")


def is_another(watch: TopicWatch, ids: object) -> bool:
    return watch.ids is not ids


def test_a_setting_that_breaks_a_promise_is_told_until_it_is_mended(
    settings: SettingsFactory, make_topics: MakeTopics, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings()
    make_topics(chosen)
    watch = TopicWatch(chosen, {}, every=0.2)
    try:
        wait_for_looks(watch)
        assert watch.problem is None
        change(chosen, chosen.names.jobs(), "message.timestamp.type", "CreateTime")
        eventually(lambda: watch.problem, "the change is noticed")
        assert watch.problem is not None
        assert "message.timestamp.type" in watch.problem
        assert "penstock topics apply" in watch.problem
        wait_for_looks(watch)
        assert not TopicManager(chosen).apply()
        eventually(lambda: watch.problem is None, "it is mended")
        said = capsys.readouterr().out
        assert [said.count(text) for text in ("not as they must be", "as they must be again")] == [1, 1], "once a change"
    finally:
        watch.stop()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("noticed", [True, False])
def test_a_jobs_topic_that_is_deleted_and_made_again_is_read_from_its_start(make_fleet: MakeFleet, *, noticed: bool) -> None:
    fleet = make_fleet(worker={"metrics_port": 0})
    worker = fleet.start().ready()
    assert errors(fleet, publish(fleet, "before", 10)) == {}
    topic = fleet.settings.names.jobs()
    fleet.admin.delete_topics([topic])[topic].result(30)
    if noticed:
        missing = f"topics are missing: {topic}; make them with: penstock topics apply\n"
        eventually(lambda: get(worker, "/readyz") == (503, missing), "it says so", 60)
    eventually(lambda: not TopicManager(fleet.settings).apply(), "it is made again")
    # As many as before: who read on where it was, or believed a commit of before, would find nothing there.
    assert errors(fleet, publish(fleet, "after", 10)) == {}
    eventually(lambda: get(worker, "/readyz")[0] == 200, "it is ready again", 60)
    assert worker.drain() == 0
    assert len(worker.lines("commits fail; until one succeeds, a new owner would repeat these jobs")) <= 1
    later = fleet.start().ready()
    assert errors(fleet, publish(fleet, "later", 5)) == {}
    assert later.drain() == 0
    assert len(fleet.answered_now()) == 25, "nothing is run twice"


@pytest.mark.timeout(240)
def test_retry_and_dead_topics_that_are_deleted_are_told(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(worker={"metrics_port": 0}, retry={"tiers": ["1s"]})
    worker = fleet.start().ready()
    names = fleet.settings.names
    topics = sorted([names.dead, names.retry("1s")])
    for future in fleet.admin.delete_topics(topics).values():
        future.result(30)
    eventually(lambda: all(topic in get(worker, "/readyz")[1] for topic in topics), "it says so", 60)
    assert errors(fleet, publish(fleet, "meanwhile", 5)) == {}, "what needs neither of them goes on"
    eventually(lambda: not TopicManager(fleet.settings).apply(), "they are made again")
    eventually(lambda: get(worker, "/readyz")[0] == 200, "it is ready again", 60)
    change(fleet.settings, names.jobs(), "message.timestamp.type", "CreateTime")
    eventually(lambda: "message.timestamp.type" in get(worker, "/readyz")[1], "it says so", 60)
    assert worker.drain() == 0
