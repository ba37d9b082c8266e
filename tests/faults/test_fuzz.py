"""Thousands of hostile records: each gets its outcome, none ends a process, and the good jobs between them are right."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from tests.faults.fuzz import make_hostile
from tests.faults.harness import Fleet
from tests.faults.jobs import make_jobs
from tests.faults.life import Life
from tests.faults.run import SEED, SOAK, conclude, options
from tests.faults.subjects import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.jobs import Job
    from tests.support import MakeTopics, SettingsFactory

MEMBERS = ("worker-1", "worker-2", "projector-1")
TURN = 20


def mixed(hostile: Iterator[Job], good: Iterator[Job]) -> Iterator[Job]:
    """Some of these, some of those, until both are at their end."""
    while some := [*islice(hostile, TURN), *islice(good, TURN)]:
        yield from some


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_hostile_records_end_with_an_outcome_each_and_harm_nobody(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    count = 10_000 if SOAK else 2_000
    usual = options(tmp_path)
    usual["models"]["double"]["max_batch_rows"] = 512
    chosen = settings(**usual)
    make_topics(chosen)
    jobs = mixed(make_hostile(SEED, count), make_jobs(SEED, count // 5))
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS)
        life.live(jobs, count, [], count / 1000)
        life.recoveries.add(HOSTILE, life.accepted)
        verdict = conclude(fleet, life)
        engines = [engine.pid for name in MEMBERS for engine in fleet.members[name].engines()]
    assert not engines
    assert verdict.repeated == 0
    assert verdict.accepted >= count
