"""Owns the verdict on retries: each keeps its job's bytes, is run when it is due and not before, and counts its tries. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from tests.faults.check_letters import same_headers
from tests.faults.told import Account, Breach, Place, Tried

if TYPE_CHECKING:
    from tests.faults.records import Accepted, Evidence

_SLACK_MS: Final = 50
"""A broker stamps records with milliseconds, and its clock is read once a batch."""


def check_retries(evidence: Evidence, account: Account) -> Iterator[Breach]:
    jobs = {(job.partition, job.offset): job for job in evidence.accepted}
    for tried in account.tried:
        job = None if tried.place is None else jobs.get(tried.place)
        if job is None:
            yield Breach("stray", f"{tried} tries {tried.tries.origin} again, where no job was accepted")
        else:
            yield from _untouched(job, tried)
    for place, many in account.tries_of.items():
        if place in jobs:
            yield from _early(jobs[place], place, many, account)


def _untouched(job: Accepted, tried: Tried) -> Iterator[Breach]:
    """A retry record has the job's own bytes and headers, and where and when it was first."""
    if tried.record.value != job.job.value:
        yield Breach("retries", f"{tried} does not hold the bytes of {job}")
    if not same_headers(tried.tries.original, job):
        yield Breach("retries", f"{tried} does not hold the headers of {job}: {list(tried.tries.original)}")
    if tried.tries.origin_timestamp_ms != job.time_ms:
        yield Breach("retries", f"{tried} says that {job} was accepted at {tried.tries.origin_timestamp_ms}, not {job.time_ms}")


def _early(job: Accepted, place: Place, many: Sequence[Tried], account: Account) -> Iterator[Breach]:
    """What came of a try, an outcome or another retry record, is later than the earliest record of that try was due."""
    first_due: dict[int, float] = {}
    for tried in many:
        attempt = tried.tries.attempt
        first_due[attempt] = min(tried.due_ms, first_due.get(attempt, tried.due_ms))
    for told in account.by_place.get(place, ()):
        due = first_due.get(told.outcome.attempts)
        if told.outcome.attempts > 1 and due is not None and told.record.time_ms < due - _SLACK_MS:
            yield Breach(
                "retries", f"{job}: its try {told.outcome.attempts} ended {due - told.record.time_ms:.0f} ms before it was due"
            )
    for tried in many:
        due = first_due.get(tried.tries.attempt - 1)  # it was written when the try before it had failed
        if due is not None and tried.record.time_ms < due - _SLACK_MS:
            yield Breach("retries", f"{tried} of {job} was written before the try that it follows was due")
