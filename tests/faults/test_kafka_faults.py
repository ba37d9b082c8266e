"""Kafka may be killed, hung, or far away: the fleet waits, and goes on where it was.

``FAULTS_SEED=… make test-faults`` has the same jobs and the same faults again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.deck import KAFKA
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.run import SEED, SESSION, SOAK, live
from tests.faults.schedule import first_members, make_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import SiteFactory, SiteSettings


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="make test has a sample of it in the fleet's own life")
@pytest.mark.timeout(900)
def test_promises_hold_whatever_becomes_of_kafka(own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path) -> None:
    count, seconds = (40_000, 240.0)
    site = own_site()
    schedule = make_schedule(SEED, seconds, KAFKA, session=SESSION, gap=2.5, links=list(site.links))
    with Fleet(site_settings(site), tmp_path, site=site) as fleet:
        jobs = make_jobs(SEED, count, TRIED)
        live(fleet, first_members(), schedule, jobs=jobs, count=count, seconds=seconds, besides=site.finish)
