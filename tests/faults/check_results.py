"""Owns the verdict on what readers see: the first outcomes of the newest generations (I2), and never two (I3). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from tests.faults.told import Account, Breach, Told

from penstock_schemas.errors import ErrorCode

if TYPE_CHECKING:
    from tests.faults.records import Evidence

    from penstock_schemas.outcomes import Outcome

_EXPIRY_SLACK_MS: Final = 2000


def check_results(evidence: Evidence, account: Account) -> Iterator[Breach]:
    by_id = defaultdict[str, list[Told]](list)
    for one in account.told:
        by_id[one.outcome.id].append(one)
    yield from _contradictions(evidence, account, by_id)
    for job_id, many in by_id.items():
        partitions = {one.record.partition for one in many}
        if len(partitions) > 1:
            what = f"{job_id} has outcomes in partitions {sorted(partitions)}: none of them is the first"
            yield Breach("I2", what)
    firsts = {job_id: _firsts(many) for job_id, many in by_id.items()}
    yield from _redis(evidence, {job_id: first[-1] for job_id, first in firsts.items()})
    yield from _sightings(evidence, firsts)


def _firsts(many: Sequence[Told]) -> list[Told]:
    """The first outcome of each generation, the newest generation last."""
    first: dict[int, Told] = {}
    for one in sorted(many, key=lambda one: one.record.offset):
        first.setdefault(one.outcome.generation, one)
    return [first[generation] for generation in sorted(first)]


def _contradictions(evidence: Evidence, account: Account, by_id: Mapping[str, Sequence[Told]]) -> Iterator[Breach]:
    """I3: outcomes of one id and generation agree (or, where an id was given to different jobs, those of one place)."""
    jobs = defaultdict[str, set[int]](set)
    for job in evidence.accepted:
        jobs[job.id].add(id(job.job))
    loose = {(job.partition, job.offset) for job in evidence.accepted if job.job.any_id}
    alone = {job_id for job_id, many in by_id.items() if len(jobs[job_id]) <= 1 and not any(one.place in loose for one in many)}
    # Run again later, such a job may have expired: readers of the topic take the first of the two.
    hurried = {(job.partition, job.offset) for job in evidence.accepted if job.job.expected.expires_after is not None}
    # Run twice, such a job may once have met an engine or worker that we ended: that is its crash (and counted, where it paid).
    crashing = {(job.partition, job.offset) for job in evidence.accepted if job.job.expected.may_crash}
    groups = [by_id[job_id] for job_id in alone]
    groups += [many for many in account.by_place.values() if many[0].outcome.id not in alone]
    for many in groups:
        by_generation: dict[int, Told] = {}
        for one in many:
            other = by_generation.setdefault(one.outcome.generation, one)
            expired = one.place in hurried and "expired" in (one.outcome.status, other.outcome.status)
            crashed = one.place in crashing and ErrorCode.ENGINE_CRASH in (one.outcome.error_code, other.outcome.error_code)
            if other is not one and not expired and not crashed and not _agree(one.outcome, other.outcome):
                where = [f"outcomes-{two.record.partition}-{two.record.offset}" for two in (other, one)]
                yield Breach("I3", f"{one.outcome.id} has contradictory outcomes: {where[0]} and {where[1]}")


def _agree(one: Outcome, other: Outcome) -> bool:
    return (
        (one.status, one.error_code) == (other.status, other.error_code)
        and one.outputs.keys() == other.outputs.keys()
        and all(np.array_equal(array, other.outputs[name], equal_nan=True) for name, array in one.outputs.items())
    )


def _redis(evidence: Evidence, current: Mapping[str, Told]) -> Iterator[Breach]:
    """I2: Redis holds these, for as long as they are to stay, and nothing else."""
    for job_id, first in current.items():
        stored = evidence.results.get(job_id)
        if stored is None:
            yield Breach("I2", f"{job_id} has an outcome and no result in Redis")
            continue
        if stored.value != first.record.value:
            yield Breach("I2", f"Redis does not hold the first outcome of {job_id}: {_short(stored.value)}")
        wanted = first.record.time_ms + evidence.result_ttl_ms
        if abs(stored.expires_ms - wanted) > _EXPIRY_SLACK_MS:
            yield Breach("I2", f"{job_id} expires {stored.expires_ms - wanted} ms from when it should")
    for job_id in evidence.results.keys() - current.keys():
        yield Breach("I2", f"Redis holds a result of {job_id}, which has no outcome")


def _sightings(evidence: Evidence, firsts: Mapping[str, Sequence[Told]]) -> Iterator[Breach]:
    """I3: nobody ever saw another than the first outcome of a generation."""
    for job_id, seen in evidence.sightings.items():
        right = [first.record.value for first in firsts.get(job_id, ())]
        for value in seen:
            if value not in right:
                yield Breach("I3", f"a reader saw a result of {job_id} that is not its first outcome: {_short(value)}")


def _short(value: bytes) -> str:
    return repr(value[:160])
