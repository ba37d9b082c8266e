"""Jobs that crash, hang or exhaust what runs them cost their own tries, and nobody else's."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

import pytest
from tests.backends.numpy_models import write_model
from tests.faults.harness import Fleet
from tests.faults.jobs import TRIED, Expected, Kind, make_jobs
from tests.faults.life import Life
from tests.faults.run import ROUNDS, SEED, SLOWLY, SOAK, conclude, in_turn, live, options
from tests.faults.schedule import WORKERS, first_members
from tests.faults.subjects import ENGINE_KILLED, ENGINE_REPLACED, ROUGH, WHOLE_WORKER
from tests.faults.trials import Trial, commit, record

from penstock_schemas.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.jobs import Job
    from tests.support import MakeTopics, SettingsFactory


def rough(kind: Kind, number: int = 0) -> Iterator[Job]:
    """One job of ``kind``; another one for each ``number``."""
    return islice(make_jobs(SEED + number, number + 1, {kind: 1}, repeated=0.0), number, number + 1)


@pytest.mark.soak
@in_turn("rough jobs")
@pytest.mark.timeout(2400 if SOAK else 400)
def test_rough_jobs_among_others_cost_their_own_tries_alone(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    """With TensorFlow's own engines: it is they that crash, hang and run out of memory."""
    chosen = settings(**options(tmp_path, tensorflow=True))
    make_topics(chosen)
    others = make_jobs(SEED, 10**7, TRIED)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        members = first_members()
        life.begin(members)
        for number in range(ROUNDS):
            for kind, name in ROUGH.items():
                life.submit(chain(islice(others, 150), rough(kind, number), islice(others, 50)))
                life.flush()
                life.recoveries.add(name, life.accepted)
            life.submit(islice(others, 150))
            fleet.kill_engines(members[number % WORKERS])
            life.recoveries.add(ENGINE_KILLED, life.accepted)
            life.until(lambda: life.recoveries.over, "the jobs beside them have their results", SLOWLY)
        verdict = conclude(fleet, life, quiet_within=SLOWLY)
    tested = commit()
    lines = [line for name in members for line in fleet.members[name].log.read_text().splitlines()]
    record(
        Trial(ENGINE_REPLACED, SEED, tested, clean=True, jobs=verdict.accepted, recovery=json.loads(line)["seconds"])
        for line in lines
        if '"engine replaced"' in line
    )


@pytest.mark.soak
@in_turn("whole workers")
@pytest.mark.timeout(1200 if SOAK else 200)
def test_a_job_that_kills_whole_workers_does_not_go_from_one_to_the_other(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    usual = options(tmp_path)
    chosen = settings(**usual)
    make_topics(chosen)
    others = make_jobs(SEED, 10**7)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        members = first_members()
        life.begin(members, dies_at="by its job")
        for number in range(ROUNDS):
            life.submit(chain(islice(others, 150), rough(Kind.KILLS_WORKER, number), islice(others, 150)))
            life.recoveries.add(WHOLE_WORKER, life.accepted)
            life.live_while(lambda: not life.recoveries.over, iter(()), rate=0, besides=lambda: again(fleet))
        life.live_while(lambda: life.unrest() is not None, iter(()), rate=0, besides=lambda: again(fleet))
        verdict = conclude(fleet, life)
    ends = {told.outcome.attempts for told in verdict.account.told if told.outcome.id.startswith(Kind.KILLS_WORKER)}
    assert ends <= {1, 2, 3, 4}


def again(fleet: Fleet) -> None:
    """Start each worker that its job has ended again, as an orchestrator would."""
    for member in list(fleet.members.values()):
        if member.fell():
            fleet.say(f"{member.name} was ended")
            fleet.add(f"worker-{len(fleet.members) + 10}", dies_at="by its job")


def failing_at_first(job: Job) -> Job:
    """``job``, which ends as failed where it is of the other model and comes before that one rests."""
    return job if job.kind is Kind.ORDINARY else replace(job, expected=Expected("", anything=True))


@pytest.mark.timeout(200)
def test_a_model_that_fails_everything_rests_and_others_go_on(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    failing = tmp_path / "failing"
    usual = options(tmp_path)
    usual["retry"] |= {"breaker_failures": 20, "breaker_seconds": 0.5}
    other = write_model(tmp_path / "other", fails=failing)
    usual["models"]["other"] = {"path": str(other), "max_batch_rows": 16}
    chosen = settings(**usual)
    make_topics(chosen)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        members = ["worker-1", "projector-1"]
        life.begin(members)
        failing.touch()
        log = fleet.members["worker-1"].log
        jobs = make_jobs(SEED, 10**6, {Kind.OTHER: 1, Kind.ORDINARY: 1}, repeated=0.0)
        life.live_while(
            lambda: "every job of a model fails" not in log.read_text(),
            map(failing_at_first, jobs),
            rate=100,
            besides=lambda: None,
        )
        life.submit(map(failing_at_first, islice(jobs, 100)))
        life.flush()
        failing.unlink()
        verdict = conclude(fleet, life)
    ends = Counter((told.outcome.status, told.outcome.error_code) for told in verdict.account.told)
    assert ends.keys() == {("succeeded", None), ("failed", ErrorCode.MODEL_ERROR)}
    waited = [tried for tried in verdict.account.tried if tried.tries.waited]
    assert waited, "no job waited while its model rested"


@pytest.mark.timeout(400)
def test_four_bad_jobs_among_ten_thousand(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    """The issue's own words: one that segfaults, one that hangs, one that eats memory and one of garbage."""
    usual = options(tmp_path, tensorflow=True)
    usual["models"]["double"] |= {"max_batch_rows": 256}
    chosen = settings(**usual)
    make_topics(chosen)
    good = make_jobs(SEED, 10_000, {Kind.ORDINARY: 1}, repeated=0.0)
    bad = chain.from_iterable(rough(kind) for kind in (Kind.CRASHES, Kind.HANGS, Kind.EATS, Kind.GARBAGE))
    jobs = chain(islice(good, 5_000), bad, good)
    members = first_members()
    with Fleet(chosen, tmp_path) as fleet:
        verdict = live(fleet, members, [], jobs=jobs, count=10_004, seconds=4.0, quiet_within=SLOWLY)
        assert all(not member.killed for member in fleet.members.values())
    assert sum(told.outcome.status == "succeeded" for told in verdict.account.told) - verdict.repeated == 10_000
    letters = {str(letter.facts.error_code): letter for letter in verdict.account.letters}
    assert sorted(letters) == ["engine_crash", "engine_timeout", "invalid_job", "out_of_memory"]
    assert len(verdict.account.letters) == 4
