"""Retries: what is tried again, on which tier, at what cost, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_schemas.errors import ErrorCode
from penstock_schemas.names import tier_seconds
from penstock_schemas.retries import Tries
from penstock_schemas.settings import Settings
from penstock_worker.settle.policy import TRANSIENT, Again, Killed, Policy

FIRST = Tries("f.jobs-0-0", 0)
WAITING = (ErrorCode.UNKNOWN_VERSION, ErrorCode.MODEL_UNAVAILABLE)


def policy(**model: Any) -> Policy:
    return Policy(Settings.model_validate({"fleet": "f", "models": {"m": {"path": Path("m"), **model}}}))


def decide(
    code: ErrorCode,
    tries: Tries = FIRST,
    *,
    killed: Killed = Killed.NOTHING,
    deadline_ms: int | None = None,
    of: Policy | None = None,
) -> Again | None:
    return (of or policy()).decide(code, tries, "m", killed=killed, deadline_ms=deadline_ms, now_ms=0)


@pytest.mark.parametrize("code", sorted(set(ErrorCode) - TRANSIENT - set(WAITING)))
def test_what_will_not_pass_ends_at_once(code: ErrorCode) -> None:
    assert decide(code) is None


@pytest.mark.parametrize("code", sorted(TRANSIENT))
def test_what_may_pass_is_tried_four_times(code: ErrorCode) -> None:
    tiers: list[str] = []
    tries = FIRST
    while (again := decide(code, tries)) is not None:
        tiers.append(again.tier)
        assert again.tries == replace(tries, attempt=tries.attempt + 1)
        tries = again.tries
    assert (tiers, tries.attempt) == (["10s", "1m", "10m"], 4)


def test_a_model_has_its_own_first_tier_and_number_of_tries() -> None:
    own = policy(attempts=5, first_tier="1m")
    tries, tiers = FIRST, list[str]()
    while (again := decide(ErrorCode.OUT_OF_MEMORY, tries, of=own)) is not None:
        tiers.append(again.tier)
        tries = again.tries
    assert tiers == ["1m", "10m", "10m", "10m"]
    assert decide(ErrorCode.OUT_OF_MEMORY, of=policy(attempts=1)) is None


def test_a_second_kill_is_the_last() -> None:
    again = decide(ErrorCode.ENGINE_CRASH, killed=Killed.ENGINE)
    assert again is not None
    assert (again.tries.kills, again.tries.attempt) == (1, 2)
    assert decide(ErrorCode.ENGINE_CRASH, again.tries, killed=Killed.ENGINE) is None
    assert decide(ErrorCode.TRANSFORM_RETRY, again.tries) is not None


def test_whole_workers_may_die_of_something_else_so_a_job_has_all_its_tries() -> None:
    tries = FIRST
    for attempt in (2, 3, 4):
        again = decide(ErrorCode.ENGINE_CRASH, tries, killed=Killed.WORKER)
        assert again is not None
        tries = again.tries
        assert (tries.kills, tries.attempt) == (attempt - 1, attempt), "it is always run alone from now on"
    assert decide(ErrorCode.ENGINE_CRASH, tries, killed=Killed.WORKER) is None
    assert decide(ErrorCode.ENGINE_CRASH, replace(FIRST, kills=1, attempt=2), killed=Killed.ENGINE) is None, "now it is known"


@pytest.mark.parametrize(("code", "grace"), [(ErrorCode.UNKNOWN_VERSION, 600), (ErrorCode.MODEL_UNAVAILABLE, 3600)])
def test_waiting_for_a_model_costs_no_try_and_ends(code: ErrorCode, grace: float) -> None:
    tries, waits = replace(FIRST, attempt=3), list[str]()
    while (again := decide(code, tries)) is not None:
        waits.append(again.tier)
        tries = again.tries
        assert tries.attempt == 3
    assert tries.waited == sum(map(tier_seconds, waits))
    assert grace <= tries.waited < 2 * grace
    if code is ErrorCode.MODEL_UNAVAILABLE:
        assert set(waits) == {"10m"}
    else:
        assert waits[:2] == ["10s", "10s"]
        assert waits[-1] == "1m", "no job waits much longer than the version took to come"


def test_nothing_waits_past_its_deadline() -> None:
    for code in (ErrorCode.ENGINE_CRASH, ErrorCode.UNKNOWN_VERSION):
        assert decide(code, deadline_ms=9_999) is None
        assert decide(code, deadline_ms=10_001) is not None


@given(st.lists(st.tuples(st.sampled_from(sorted(ErrorCode)), st.sampled_from(Killed)), min_size=60, max_size=60))
def test_every_job_ends(fates: list[tuple[ErrorCode, Killed]]) -> None:
    tries, rules = FIRST, policy(attempts=20)
    for code, killed in fates:
        again = decide(code, tries, killed=killed if code in TRANSIENT else Killed.NOTHING, of=rules)
        if again is None:
            return
        assert again.tries.attempt + again.tries.waited > tries.attempt + tries.waited
        tries = again.tries
    assert tries.attempt <= 20
    assert tries.waited <= 600 + 3600 + 600
