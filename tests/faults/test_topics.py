"""The outcomes topic is deleted and made again: results that are in Redis stay, and jobs wait until there is a topic again."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import admin as kafka_admin
from tests.faults.harness import Fleet
from tests.faults.jobs import make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SOAK, conclude, in_turn, options
from tests.faults.subjects import RECREATED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

    from penstock.local import ApacheKafka
    from penstock_schemas.settings import Settings

MEMBERS: Final = ("worker-1", "worker-2", "projector-1", "projector-2")
_ADMIN: Final[Any] = kafka_admin  # its stubs do not export what it documents
_WITHIN: Final = 30.0


def delete_outcomes(chosen: Settings, life: Life, logs: Path) -> None:
    """Delete the topic, and wait until it is gone: a broker still takes records, and confirms them, until it moves the log."""
    admin = _ADMIN.AdminClient({"bootstrap.servers": chosen.kafka.bootstrap_servers, "log_level": 0})
    admin.delete_topics([chosen.names.outcomes])[chosen.names.outcomes].result(_WITHIN)
    life.until(lambda: chosen.names.outcomes not in admin.list_topics(timeout=_WITHIN).topics, "the topic is gone")
    life.until(lambda: not [*logs.glob(f"{chosen.names.outcomes}-?")], "its log is gone")


@pytest.mark.soak
@in_turn("topics")
@pytest.mark.timeout(1200 if SOAK else 200)
def test_the_outcomes_topic_is_made_again(
    kafka: ApacheKafka, settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    chosen = settings(**options(tmp_path))
    make_topics(chosen)
    # Once each: of a job from before that comes again, the topic does not know the first outcome any more.
    jobs = make_jobs(SEED, 10**6, repeated=0.0)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS)
        for _ in range(ROUNDS):
            life.submit(islice(jobs, 300))
            life.flush()
            life.rest()
            life.kept += life.outcomes()
            delete_outcomes(chosen, life, kafka._data_dir / "logs")
            life.submit(islice(jobs, 300))
            life.flush()
            make_topics(chosen)
            life.recoveries.add(RECREATED, life.accepted)
            life.submit(islice(jobs, 300))
            life.flush()
            life.until(lambda: life.recoveries.over, "all jobs have their results")
        conclude(fleet, life)
