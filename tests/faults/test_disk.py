"""The disk is full: under Kafka, which then stops, and under our own logs, which then say nothing. No job minds in the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SOAK, conclude, in_turn
from tests.faults.subjects import KAFKA_DISK, LOGS_DISK

if TYPE_CHECKING:
    from tests.faults.conftest import SiteFactory, SiteSettings

SIZE: Final = "192m"
MEMBERS: Final = ("worker-1", "worker-2", "projector-1")
_CHUNK: Final = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, so small that it can be filled."""
    place = tmp_path / "small-disk"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "penstock-test", str(place)]
    try:
        mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"this system lets nobody mount a small disk: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte of it free; returns the file that takes them."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(_CHUNK))
    return filler


@pytest.mark.soak
@in_turn("full disk")
@pytest.mark.timeout(1200 if SOAK else 240)
def test_kafka_runs_out_of_disk_and_gets_some_back(
    own_site: SiteFactory, site_settings: SiteSettings, small_disk: Path, tmp_path: Path
) -> None:
    site = own_site(kafka_folder=small_disk / "kafka")
    jobs = make_jobs(SEED, 10**6, TRIED)
    with Fleet(site_settings(site), tmp_path, site=site) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS)
        for _ in range(ROUNDS):
            life.submit(islice(jobs, 500))
            life.flush()
            filler = fill(small_disk)
            life.submit(islice(jobs, 500))  # they wait at their producer, or have been confirmed
            life.until(lambda: not site.kafka.is_running, "the broker has ended for want of room")
            filler.unlink()
            fleet.deaths += len(MEMBERS)
            site.kafka.kill()
            site.kafka.start()
            life.recoveries.add(KAFKA_DISK, life.accepted)
            life.submit(islice(jobs, 100))
            life.flush()
        conclude(fleet, life)


@pytest.mark.soak
@in_turn("logs")
@pytest.mark.timeout(1200 if SOAK else 200)
def test_logs_have_no_room_and_jobs_flow(
    own_site: SiteFactory, site_settings: SiteSettings, small_disk: Path, tmp_path: Path
) -> None:
    site = own_site()
    jobs = make_jobs(SEED, 10**6, TRIED)
    with Fleet(site_settings(site), tmp_path, site=site) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS, logs=small_disk)
        for _ in range(ROUNDS):
            filler = fill(small_disk)
            life.submit(islice(jobs, 500))
            fleet.kill_engines("worker-1")  # something to log
            site.redis.kill()
            life.submit(islice(jobs, 500))
            site.redis.start()
            life.flush()
            life.recoveries.add(LOGS_DISK, life.accepted)
            life.until(lambda: life.recoveries.over, "every job has its result")
            filler.unlink()
        conclude(fleet, life)
