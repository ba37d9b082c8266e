"""Owns the verdict on redrives: each letter goes once, a record says so, and its generation is answered. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.faults.told import Account, Breach

from penstock_schemas.dead import REDRIVEN
from penstock_schemas.headers import first_values

if TYPE_CHECKING:
    from tests.faults.records import Evidence


def check_redrives(evidence: Evidence, account: Account) -> Iterator[Breach]:
    """Of jobs that were redriven, and of the records of that."""
    redriven = [job for job in evidence.accepted if job.job.generation]
    sent = Counter(first_values(job.job.headers).get(REDRIVEN, b"").decode() for job in redriven)
    told = Counter(account.redriven)
    for identity in sorted(sent.keys() | told.keys()):
        if (sent[identity], told[identity]) != (1, 1):
            what = f"letter {identity} was redriven {sent[identity]} times, and {told[identity]} records say so"
            yield Breach("redrives", what)
    for (job_id, generation), times in Counter((job.id, job.job.generation) for job in redriven).items():
        if times > 1:
            yield Breach("redrives", f"{job_id} was sent {times} times as generation {generation}")
    for job in evidence.accepted:
        for one in account.by_place.get((job.partition, job.offset), ()):
            if not job.job.any_id and one.outcome.generation != job.job.generation:
                what = f"the outcome of {job} is of generation {one.outcome.generation}, and {job.job.generation} is right"
                yield Breach("redrives", what)
