"""The checker finds every broken worker out, within one short life; and the same life finds nothing wrong with ours."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.checker import Verdict
from tests.faults.deck import Fault
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, Kind, make_jobs
from tests.faults.life import Life
from tests.faults.mutants import MUTANTS, WORKER, Change, Mutant
from tests.faults.run import SEED, SOAK, conclude
from tests.faults.schedule import Step
from tests.faults.subjects import mutant_name
from tests.faults.trials import Trial, commit, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import SiteFactory, SiteSettings
    from tests.faults.jobs import Job

MEMBERS: Final = ("worker-1", "worker-2", "projector-1")
STEPS: Final = (
    Step(1.5, Fault.STOP_KAFKA),
    Step(2.0, Fault.KILL_WORKER, "worker-1"),
    Step(2.0, Fault.ADD, "worker-3"),
    Step(2.5, Fault.WAKE_KAFKA),
    Step(3.5, Fault.FLUSH_REDIS),
)
COUNT: Final = 600
SECONDS: Final = 4.0
QUIET_WITHIN: Final = 20.0
"""A fleet that has not come to rest by then never will; ours takes half of it."""
LOOK: Final = 3.0
LASTING: Final = frozenset({"I3", "I4", "I5", "retries"})
"""What cannot come right any more, however long one waits."""
RETRY: Final = {"tiers": ["1s"]}
MIXED: Final = {**TRIED, Kind.NO_MEMORY: 4, Kind.CRASHES: 2}
CHOSEN: Final = MUTANTS if SOAK else Random(SEED).sample(MUTANTS, 2)


def jobs(seed: int) -> Iterator[Job]:
    """Of every kind that a mutant trips over, some."""
    return make_jobs(seed, COUNT, MIXED, repeated=0.1)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_made_of_the_sources_as_they_are(mutant: Mutant, tmp_path: Path) -> None:
    made = mutant.make(tmp_path)
    for change in mutant.changes:
        text = (made / WORKER.name / change.file).read_text()
        assert text != (WORKER / change.file).read_text()
        if change.file.endswith(".py"):
            compile(text, change.file, "exec")


def test_a_mutant_of_sources_that_have_changed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kafka\.py holds 2 times, not once"):
        Change("kafka.py", "x", "y").of("x x")


@pytest.mark.soak
@pytest.mark.timeout(200)
@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found_out(mutant: Mutant, own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path) -> None:
    began = time.monotonic()
    site = own_site()
    broken = str(mutant.make(tmp_path / "mutant"))
    with Fleet(site_settings(site, retry=RETRY), tmp_path, site=site, mutant=broken) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS)
        life.live(jobs(SEED), COUNT, STEPS, SECONDS)
        site.finish()
        verdict = judge(life, mutant)
    fleet.say(f"seed {SEED}: {mutant.name}: {verdict}")
    found = bool(verdict.promises & mutant.breaks)
    record([Trial(mutant_name(mutant.name), SEED, commit(), found, verdict.accepted, recovery=time.monotonic() - began)])
    assert found, f"seed {SEED}: nobody noticed that {mutant.name}: {verdict}"


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="the other lives find nothing wrong with it, either")
@pytest.mark.timeout(200)
def test_the_same_life_finds_nothing_wrong_with_ours(
    own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path
) -> None:
    site = own_site()
    with Fleet(site_settings(site, retry=RETRY), tmp_path, site=site) as fleet, Life(fleet, SEED) as life:
        life.begin(MEMBERS)
        life.live(jobs(SEED), COUNT, STEPS, SECONDS)
        site.finish()
        conclude(fleet, life, quiet_within=QUIET_WITHIN)


def judge(life: Life, mutant: Mutant) -> Verdict:
    """The verdict, as soon as it shows what must be found, and when the fleet has come to rest, or never will, at last."""
    deadline = time.monotonic() + QUIET_WITHIN
    while True:
        left = life.wait_quiet(LOOK)
        verdict = Verdict(life.evidence())
        if left is None or verdict.promises & mutant.breaks & LASTING or time.monotonic() > deadline:
            return verdict
