"""Redis may be killed, emptied, older than it was, hung, full, read-only or far away: the fleet waits, and heals what it held.

``FAULTS_SEED=… make test-faults`` has the same jobs and the same faults again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.faults.deck import REDIS
from tests.faults.harness import Fleet
from tests.faults.jobs import make_jobs
from tests.faults.run import SEED, SESSION, SOAK, live
from tests.faults.schedule import first_members, make_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import SiteFactory, SiteSettings


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="make test has a sample of it in the fleet's own life")
@pytest.mark.timeout(900)
def test_promises_hold_whatever_becomes_of_redis(own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path) -> None:
    count, seconds = (40_000, 180.0)
    site = own_site()
    schedule = make_schedule(SEED, seconds, REDIS, session=SESSION)
    with Fleet(site_settings(site), tmp_path, site=site) as fleet:
        jobs = make_jobs(SEED, count)
        live(fleet, first_members(), schedule, jobs=jobs, count=count, seconds=seconds, besides=site.finish)
