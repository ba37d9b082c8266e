"""The checker finds nothing wrong with a redrive that went as it should, and what went wrong with others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.faults.good_life import TOPIC, TTL_MS, good_life, of_kind, promises, told
from tests.faults.jobs import Kind
from tests.faults.records import Accepted, Commit, Evidence, Record, Stored

from penstock_schemas.dead import REDRIVEN, build_redriven


def redriven(evidence: Evidence, n: int, *, generation: int = 1, times: int = 1, audits: int = 1) -> Evidence:
    """Job ``n`` redriven ``times`` times, each answered as ``generation`` and in Redis, with ``audits`` records of that."""
    first, identity = evidence.accepted[n], f"{TOPIC}-0-{n}/0/1"
    headers = ((REDRIVEN, identity.encode()),)
    job = replace(first.job, headers=headers, generation=1)
    end = len(evidence.accepted)
    sent = [Accepted(job, 0, end + time, 8000) for time in range(times)]
    values = [told(one, generation=generation) for one in sent]
    outcomes = [Record(0, end + place, 9000, first.id.encode(), value) for place, value in enumerate(values)]
    made = build_redriven(identity, by="me", time_ms=8000, generation=1)
    letters = [Record(0, len(evidence.letters) + place, 8000, None, b"", tuple(made.headers)) for place in range(audits)]
    return replace(
        evidence,
        accepted=[*evidence.accepted, *sent],
        outcomes=[*evidence.outcomes, *outcomes],
        letters=[*evidence.letters, *letters],
        commits=[*evidence.commits, Commit(0, end + times, 10**6)],
        results={**evidence.results, first.id: Stored(values[0], 9000 + TTL_MS)},
        job_ends={0: end + times},
        outcome_ends={0: end + times},
        positions={0: end + times},
        sightings={},
    )


def test_a_redrive_is_no_breach_where_it_went_once() -> None:
    evidence = good_life()
    n = of_kind(evidence, Kind.ORDINARY)
    assert not promises(redriven(evidence, n))


@pytest.mark.parametrize("wrong", [{"times": 2}, {"audits": 0}, {"audits": 2}])
def test_a_letter_that_was_redriven_twice_or_without_a_record_is_found(wrong: dict[str, int]) -> None:
    evidence = good_life()
    assert promises(redriven(evidence, of_kind(evidence, Kind.ORDINARY), **wrong)) == {"redrives"}


def test_a_redriven_job_that_is_answered_as_another_generation_is_found() -> None:
    evidence = good_life()
    assert promises(redriven(evidence, of_kind(evidence, Kind.ORDINARY), generation=2)) == {"redrives"}


def test_redis_with_the_outcome_of_the_older_generation_is_found() -> None:
    evidence = good_life()
    later = redriven(evidence, of_kind(evidence, Kind.ORDINARY))
    assert promises(replace(later, results=evidence.results)) == {"I2"}
