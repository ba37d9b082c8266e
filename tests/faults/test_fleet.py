"""A fleet of several workers and projectors keeps its promises while they are killed, frozen, drained and added.

Every run has a seed, which it prints: ``FAULTS_SEED=… make test-faults`` has the same jobs and the same faults again.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

import pytest
from tests.backends.numpy_models import write_model
from tests.faults.checker import Verdict
from tests.faults.harness import Fleet
from tests.faults.jobs import MODEL, make_jobs
from tests.faults.life import Life
from tests.faults.schedule import Fault, Step, first_members, is_worker, make_schedule
from tests.support import KafkaFactory, MakeTopics, RedisFactory, SettingsFactory

SOAK: Final = os.environ.get("SOAK") == "1"
SEED: Final = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(10**6))
JOBS: Final = 200_000 if SOAK else 12_000
SECONDS: Final = 600.0 if SOAK else 40.0
SESSION: Final = 3.0
QUIET_WITHIN: Final = 300.0 if SOAK else 60.0


def worker_settings(folder: Path, **kafka: Any) -> dict[str, Any]:
    """Settings under which much is in flight at any moment: small deliveries, small batches, a model that takes its time."""
    model = {"path": str(write_model(folder / "model", batch_seconds=0.02)), "max_batch_rows": 64}
    return {
        "kafka": kafka,
        "topics": {"job_partitions": 6, "outcome_partitions": 4},
        "worker": {"backend": "numpy_models", "devices": "cpu", "window": 2, "delivery_records": 256, "revoke_grace": 2.0},
        "models": {MODEL: model},
    }


@pytest.mark.soak
@pytest.mark.timeout(1800 if SOAK else 180)
def test_promises_hold_whatever_fails(
    own_kafka: KafkaFactory, own_redis: RedisFactory, settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    print(f"seed {SEED}: {JOBS} jobs over {SECONDS:g} s")
    kafka = own_kafka(config={"group.min.session.timeout.ms": "1000"})
    redis = own_redis()
    options = worker_settings(tmp_path, bootstrap_servers=kafka.bootstrap, session_timeout=SESSION)
    fleet_settings = settings(redis={"url": redis.url}, **options)
    make_topics(fleet_settings)
    with Fleet(fleet_settings, tmp_path, redis) as fleet, Life(fleet, SEED) as life:
        for name in first_members():
            fleet.add(name)
        life.wait_ready(first_members())
        life.live(make_jobs(SEED, JOBS), JOBS, make_schedule(SEED, SECONDS, session=SESSION), SECONDS)
        life.wait_quiet(QUIET_WITHIN)
        troubles = fleet.drain_all()
        verdict = Verdict(life.evidence())
        print(f"seed {SEED}: {verdict}")
        assert not life.refused
        assert len(life.accepted) >= JOBS
        assert not verdict.breaches, f"seed {SEED}: {verdict}"
        assert not troubles, f"seed {SEED}: " + "\n".join(troubles)
