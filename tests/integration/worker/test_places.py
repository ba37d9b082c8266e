"""Where a member goes on reading when what it was to read is not in the log any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.support import eventually

from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.consumer import Intake
from penstock_worker.intake.gate import Hold

if TYPE_CHECKING:
    from tests.support import MakeTopics, SettingsFactory

    from penstock_worker.intake.placing import Start


class Owner:
    """Takes and gives partitions without a word."""

    def assigned(self, partitions: Mapping[tuple[str, int], Start]) -> None:
        pass

    def revoking(self, partitions: list[tuple[str, int]]) -> None:
        pass

    def lost(self, partitions: list[tuple[str, int]]) -> None:
        pass


@pytest.mark.parametrize("unheard", [False, True], ids=["heard", "unheard"])
def test_where_retention_deleted_what_was_to_be_read_reading_goes_on_behind_it(
    settings: SettingsFactory, make_topics: MakeTopics, *, unheard: bool
) -> None:
    """The client says once that there is nothing, and stands still. ``unheard``: that word gets lost."""
    chosen = settings(topics={"job_partitions": 1})
    make_topics(chosen)
    topic, where = chosen.names.jobs(), chosen.kafka.bootstrap_servers
    producer = Producer({"bootstrap.servers": where, "linger.ms": 5})
    for number in range(100):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(30) == 0
    intake = Intake(chosen, Owner(), BrokerClock(), "a")
    intake.subscribe()
    read: list[int | None] = []

    def has_read(most: int) -> bool:
        read.extend(message.offset() for message in intake.poll(0.05, 500).jobs)
        return len(read) >= most

    try:
        eventually(lambda: has_read(100), "all is read")
        partition = (topic, 0)
        intake.hold(Hold(partition, 5))
        intake.poll(0.05, 500)
        admin: Any = AdminClient({"bootstrap.servers": where})
        for deleted in admin.delete_records([TopicPartition(topic, 0, 50)]).values():
            deleted.result(30)
        read.clear()
        intake.release([partition])
        if unheard:
            (member,) = intake._jobs.values()
            eventually(lambda: member.consumer.poll(0.1), "the client says so")
        eventually(lambda: has_read(50), "what is left is read")
        assert read == list(range(50, 100))
        assert intake.missing(partition, 5, 49) == "retention deleted them before a worker came to them"
    finally:
        intake.close()
