"""Outcomes that were damaged on the broker's disk are stepped over and told of, and the others become results."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import structlog
from tests.faults.damage import batches, spoil
from tests.integration.project.fleet import Fleet, projecting
from tests.support import KafkaFactory, MakeTopics, SettingsFactory, eventually

if TYPE_CHECKING:
    from pathlib import Path


def test_damaged_outcomes_are_stepped_over(
    own_kafka: KafkaFactory, settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    kafka = own_kafka()
    chosen = settings(kafka={"bootstrap_servers": kafka.bootstrap}, topics={"outcome_partitions": 1})
    make_topics(chosen)
    with ExitStack() as stack:
        fleet = Fleet(chosen, stack)
        for part in range(6):
            fleet.publish(*(f"{part}-{number}" for number in range(20)))
        kafka.stop()
        there = batches(tmp_path / "kafka-0" / "logs" / f"{chosen.names.outcomes}-0")
        spoilt = there[1:3] + there[-1:]
        for batch in spoilt:
            spoil(batch)
        kafka.start()
        lost = [offset for batch in spoilt for offset in range(batch.first, batch.last + 1)]
        sound = [f"{offset // 20}-{offset % 20}" for offset in range(120) if offset not in lost]
        with structlog.testing.capture_logs() as said, projecting(chosen):
            eventually(fleet.all_there(sound), "what can be read is there")
            fleet.publish("later")
            eventually(fleet.all_there(["later"]), "what comes after the damage is there")
        assert len(fleet.texts()) == len(sound) + 1
    told = [(line["first"], line["last"]) for line in said if line["event"].startswith("outcomes cannot be read")]
    assert told == [(spoilt[0].first, spoilt[1].last), (spoilt[2].first, spoilt[2].last)]
