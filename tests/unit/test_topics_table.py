"""The table of a fleet's topics, and the comparison with what a cluster has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock_schemas.settings import Settings, load_settings
from penstock_schemas.topics import Difference, PresentTopic, WantedTopic, differences, wanted_topics


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return made(tmp_path)


def made(folder: Path, **sections: Any) -> Settings:
    empty = folder / "empty.toml"
    empty.write_text("")
    return load_settings(empty, **{"fleet": "f", **sections})


def present(wanted: list[WantedTopic]) -> dict[str, PresentTopic]:
    return {one.name: PresentTopic(one.partitions, one.replication, dict(one.config)) for one in wanted}


def changed(wanted: list[WantedTopic], name: str, **config: str) -> dict[str, PresentTopic]:
    there = present(wanted)
    there[name] = replace(
        there[name], config={**there[name].config, **{key.replace("_", "."): one for key, one in config.items()}}
    )
    return there


def test_a_fleet_has_the_topics_of_the_contract(settings: Settings) -> None:
    names = [topic.name for topic in wanted_topics(settings, brokers=1)]
    assert names == ["f.jobs", "f.outcomes", "f.retry.10s", "f.retry.1m", "f.retry.10m", "f.dead"]


def test_every_topic_keeps_records_by_their_arrival_and_for_a_time_alone(settings: Settings) -> None:
    for topic in wanted_topics(settings, brokers=1):
        assert topic.config["cleanup.policy"] == "delete"
        assert topic.config["message.timestamp.type"] == "LogAppendTime"
        assert topic.config["retention.bytes"] == "-1"
        assert topic.config["unclean.leader.election.enable"] == "false"


def test_what_workers_read_is_uncompressed_and_outcomes_may_be_compressed(settings: Settings) -> None:
    compression = {topic.kind: topic.config.get("compression.type") for topic in wanted_topics(settings, brokers=1)}
    assert compression == {"jobs": "uncompressed", "outcomes": None, "retry": "uncompressed", "dead": "uncompressed"}


def test_a_letter_has_room_for_a_job_and_what_is_said_of_it(settings: Settings) -> None:
    size = {topic.kind: int(topic.config["max.message.bytes"]) for topic in wanted_topics(settings, brokers=1)}
    assert size["retry"] == size["dead"] == size["jobs"] + 64 * 1024
    assert size["outcomes"] == 8 * 1024 * 1024


def test_a_retry_outlives_the_job_and_all_delays(settings: Settings) -> None:
    retention = {topic.kind: int(topic.config["retention.ms"]) for topic in wanted_topics(settings, brokers=1)}
    assert retention["retry"] == retention["jobs"] + settings.longest_delay * 1000


@pytest.mark.parametrize(("brokers", "replication", "in_sync"), [(1, 1, "1"), (2, 1, "1"), (3, 3, "2"), (9, 3, "2")])
def test_three_brokers_mean_three_replicas(settings: Settings, brokers: int, replication: int, in_sync: str) -> None:
    for topic in wanted_topics(settings, brokers):
        assert (topic.replication, topic.config["min.insync.replicas"]) == (replication, in_sync)


def test_queues_have_jobs_topics_and_the_plain_one_is_always_there(tmp_path: Path) -> None:
    settings = made(tmp_path, worker={"queues": ["slow"]})
    assert [topic.name for topic in wanted_topics(settings, 1) if topic.kind == "jobs"] == ["f.jobs", "f.jobs.slow"]


def test_nothing_differs_where_all_is_as_wanted(settings: Settings) -> None:
    wanted = wanted_topics(settings, 1)
    assert differences(wanted, present(wanted)) == []


def test_a_missing_topic_is_one_difference(settings: Settings) -> None:
    wanted = wanted_topics(settings, 1)
    there = present(wanted)
    del there["f.dead"]
    (found,) = differences(wanted, there)
    assert (found.topic, found.key, found.present, found.fixable, found.breaks_contract) == (
        "f.dead",
        "topic",
        None,
        True,
        True,
    )
    assert str(found) == "f.dead: is missing (wanted: 1 partitions, replication 1)"


@pytest.mark.parametrize(
    ("name", "key", "value", "breaks"),
    [
        ("f.jobs", "cleanup_policy", "compact", True),
        ("f.jobs", "compression_type", "producer", True),
        ("f.outcomes", "message_timestamp_type", "CreateTime", True),
        ("f.outcomes", "retention_ms", "1000", True),
        ("f.outcomes", "retention_ms", "-1", False),
        ("f.outcomes", "max_message_bytes", "1000", True),
        ("f.outcomes", "max_message_bytes", "99999999", False),
        ("f.dead", "retention_ms", "1000", False),
        ("f.jobs", "min_insync_replicas", "2", False),
    ],
)
def test_a_setting_breaks_the_contract_where_it_takes_something_away(
    settings: Settings, name: str, key: str, value: str, breaks: bool
) -> None:
    wanted = wanted_topics(settings, 1)
    (found,) = differences(wanted, changed(wanted, name, **{key: value}))
    assert (found.key, found.present, found.breaks_contract, found.fixable) == (key.replace("_", "."), value, breaks, True)


def test_settings_that_are_not_ours_are_nobodys_business(settings: Settings) -> None:
    wanted = wanted_topics(settings, 1)
    assert differences(wanted, changed(wanted, "f.jobs", segment_bytes="1000")) == []


def partitions_of(settings: Settings, name: str, count: int) -> Difference:
    wanted = wanted_topics(settings, 1)
    there = present(wanted)
    there[name] = replace(there[name], partitions=count)
    (found,) = differences(wanted, there)
    return found


def test_jobs_may_grow_in_partitions_but_not_shrink(settings: Settings) -> None:
    assert partitions_of(settings, "f.jobs", 4).fixable
    shrunk = partitions_of(settings, "f.jobs", 16)
    assert not shrunk.fixable
    assert "topics.job_partitions = 16" in str(shrunk)


@pytest.mark.parametrize("count", [4, 16])
def test_outcomes_never_change_their_partition_count(settings: Settings, count: int) -> None:
    found = partitions_of(settings, "f.outcomes", count)
    assert not found.fixable
    assert f"topics.outcome_partitions = {count}" in str(found)
