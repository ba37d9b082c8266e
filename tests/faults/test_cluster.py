"""Three brokers, of which one after the other, or two at once, are stopped or killed: the fleet waits, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.cluster import Cluster, cluster_schedule
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.run import ROUNDS, SEED, SESSION, SOAK, in_turn, live, options
from tests.support import MakeTopics, RedisFactory, SettingsFactory, missing

from penstock.local import LocalMissing

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = ("worker-1", "worker-2", "worker-3", "projector-1")
GAP = 12.0 if SOAK else 4.0


@pytest.mark.soak
@in_turn("cluster")
@pytest.mark.timeout(1800 if SOAK else 300)
def test_promises_hold_while_brokers_come_and_go(
    own_redis: RedisFactory, settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    steps = cluster_schedule(SEED, ROUNDS, gap=GAP)
    if not SOAK:
        steps = steps[:2]  # one of the three
    seconds = steps[-1].at + GAP
    try:
        with Cluster(tmp_path / "cluster") as cluster:
            usual = options(tmp_path, bootstrap_servers=cluster.bootstrap, session_timeout=2 * SESSION)
            chosen = settings(**usual | {"redis": {"url": own_redis().url}})
            make_topics(chosen)
            count = int(seconds * 100)
            with Fleet(chosen, tmp_path, site=cluster) as fleet:
                jobs = make_jobs(SEED, count, TRIED)
                live(fleet, MEMBERS, steps, jobs=jobs, count=count, seconds=seconds, besides=cluster.finish)
    except LocalMissing as error:
        missing(str(error))
