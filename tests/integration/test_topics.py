"""The fleet's topics on a real Apache Kafka: made, compared, mended."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import admin as kafka_admin
from tests.support import MakeTopics, SettingsFactory, eventually

from penstock.topics import KafkaUnreachable, TopicManager
from penstock_schemas.settings import load_settings

ADMIN: Any = kafka_admin  # the library's types export none of its names


def test_topics_are_made_as_wanted_and_making_them_again_changes_nothing(settings: SettingsFactory) -> None:
    manager = TopicManager(settings(worker={"queues": ["", "slow"]}))
    missing = manager.differences()
    assert {one.key for one in missing} == {"topic"}
    assert len(missing) == 7
    try:
        assert manager.apply() == []
        assert manager.apply() == []
        assert manager.differences() == []
    finally:
        manager.delete()


def test_what_differs_is_told_and_mended(settings: SettingsFactory, make_topics: MakeTopics) -> None:
    wanted = settings()
    make_topics(wanted)
    jobs = wanted.names.jobs()
    changes = [ADMIN.ConfigEntry("cleanup.policy", "compact", incremental_operation=ADMIN.AlterConfigOpType.SET)]
    admin = ADMIN.AdminClient({"bootstrap.servers": wanted.kafka.bootstrap_servers})
    resource = ADMIN.ConfigResource(ADMIN.ResourceType.TOPIC, jobs, incremental_configs=changes)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    more = TopicManager(settings(topics={"job_partitions": 6}))
    eventually(lambda: (jobs, "cleanup.policy") in {(one.topic, one.key) for one in more.differences()}, "the change shows")
    found = {(one.topic, one.key) for one in more.differences()}
    assert (jobs, "partitions") in found
    assert more.apply() == []


def test_an_outcomes_topic_with_another_partition_count_is_never_changed(settings: SettingsFactory) -> None:
    wanted = settings()
    admin = ADMIN.AdminClient({"bootstrap.servers": wanted.kafka.bootstrap_servers})
    for future in admin.create_topics([ADMIN.NewTopic(wanted.names.outcomes, num_partitions=2, replication_factor=1)]).values():
        future.result()
    manager = TopicManager(wanted)
    try:
        left = manager.apply()
        assert [(one.topic, one.key, one.present) for one in left] == [(wanted.names.outcomes, "partitions", "2")]
        assert "topics.outcome_partitions = 2" in str(left[0])
    finally:
        manager.delete()


def test_topics_that_are_deleted_while_they_are_read_are_missing(settings: SettingsFactory) -> None:
    manager, reader = TopicManager(settings()), TopicManager(settings())
    done = threading.Event()

    def read() -> int:
        looks = 0
        while not done.is_set():
            assert {one.key for one in reader.differences()} <= {"topic"}
            looks += 1
        return looks

    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(read)
        try:
            for _ in range(10):
                eventually(lambda: manager.apply() == [], "the topics are made")
                manager.delete()
        finally:
            done.set()
            manager.delete()
        assert looks.result() > 10


def test_a_cluster_that_is_not_there_is_named(fleet_name: str) -> None:
    manager = TopicManager(load_settings(fleet=fleet_name, kafka={"bootstrap_servers": "127.0.0.1:1"}), timeout=0.5)
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:1"):
        manager.differences()
