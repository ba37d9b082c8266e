"""Records that were damaged on the broker's disk are stepped over, told as a gap, and cost no other job anything."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.damage import Batch, batches, spoil
from tests.faults.harness import Fleet
from tests.faults.jobs import USUAL, make_jobs
from tests.faults.life import Life
from tests.faults.run import SEED, conclude, in_turn, options
from tests.faults.subjects import DAMAGED

from penstock_schemas.dead import parse_letter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import KafkaFactory, MakeTopics, SettingsFactory

MEMBERS: Final = ("worker-1", "worker-2", "projector-1")
PARTITIONS: Final = 6
ROUNDS: Final = 12
"""Batches of each partition, at least."""


def choose(random: Random, partition: list[Batch]) -> list[Batch]:
    """Batches to damage: one somewhere, or two neighbours, or the first, or the last."""
    inner = random.randrange(1, len(partition) - 2)
    return random.choice([[partition[inner]], partition[inner : inner + 2], partition[:1], partition[-1:], []])


@pytest.mark.soak
@in_turn("damage")
@pytest.mark.timeout(300)
def test_what_is_damaged_on_disk_is_stepped_over(
    own_kafka: KafkaFactory, settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    random = Random(SEED)
    kafka = own_kafka(config={"group.min.session.timeout.ms": "1000"})
    usual = options(tmp_path, bootstrap_servers=kafka.bootstrap)
    chosen = settings(**usual)
    make_topics(chosen)
    jobs = make_jobs(SEED, 10**6, USUAL)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        for _ in range(ROUNDS):
            life.submit(islice(jobs, 60))
            life.flush()
        kafka.stop()
        logs = tmp_path / "kafka-0" / "logs"
        gaps: list[tuple[int, int, int]] = []
        for partition in range(PARTITIONS):
            spoilt = choose(random, batches(logs / f"{chosen.names.jobs()}-{partition}"))
            for batch in spoilt:
                spoil(batch)
                life.unreadable += [(partition, offset) for offset in range(batch.first, batch.last + 1)]
            if spoilt:
                gaps.append((partition, spoilt[0].first, spoilt[-1].last))
                life.recoveries.add(DAMAGED, life.accepted)
        kafka.start()
        life.begin(MEMBERS)
        life.submit(islice(jobs, 600))
        life.flush()
        verdict = conclude(fleet, life)
    told = [(letter.place[0], *letter.facts.gap) for letter in verdict.account.letters if letter.place and letter.facts.gap]
    assert sorted(told) == gaps, "each stretch that was damaged is told once, and nothing else"
    assert all(parse_letter(letter.record.headers).error for letter in verdict.account.letters)
