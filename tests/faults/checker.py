"""Owns the verdict on a fleet's life: from what was accepted and what the topics and Redis hold, job by job. Pure.

A job's place is the partition and offset of its record. Its outcomes are those whose ``origin`` is its place, so of a job
that was submitted twice each record must have been answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tests.faults.check_commits import check_commits, check_lag
from tests.faults.check_letters import check_letters
from tests.faults.check_redrives import check_redrives
from tests.faults.check_results import check_results
from tests.faults.check_retries import check_retries
from tests.faults.told import Account, Breach

if TYPE_CHECKING:
    from tests.faults.records import Evidence

_SHOWN: Final = 5


class Verdict:
    """Every breach of ``evidence``; ``str()`` gives some of each promise."""

    def __init__(self, evidence: Evidence) -> None:
        account = Account(evidence)
        self.account = account
        self.accepted = len(evidence.accepted)
        self.repeated = sum(len(many) - 1 for many in account.by_place.values())
        """Outcome records beyond one a job: what at-least-once has cost."""
        self.retried = len(account.tried)
        self.buried = len(account.letters)
        self.paid = list(_paid(evidence, account))
        """Jobs that were run alone, as suspects, when we ended their engine or worker: it cost them a try, or their code."""
        self.breaches: list[Breach] = [
            *account.strays,
            *_answered(evidence, account),
            *(Breach("I4", what) for what in self.paid if len(self.paid) > evidence.deaths),
            *check_results(evidence, account),
            *check_commits(evidence, account),
            *check_lag(evidence),
            *check_retries(evidence, account),
            *check_letters(evidence, account),
            *check_redrives(evidence, account),
        ]

    @property
    def promises(self) -> set[str]:
        """Which promises were broken."""
        return {breach.promise for breach in self.breaches}

    def __str__(self) -> str:
        counts = f"{self.accepted} jobs accepted, {self.repeated} outcomes repeated, {self.retried} retry records"
        paid = f", {len(self.paid)} jobs that paid for an engine that we ended" if self.paid else ""
        lines = [f"{counts}, {self.buried} dead letters{paid}, {len(self.breaches)} breaches"]
        shown = Counter[str]()
        for breach in self.breaches:
            shown[breach.promise] += 1
            if shown[breach.promise] <= _SHOWN:
                lines.append(f"  {breach.promise}: {breach.what}")
        lines += [f"  {promise}: and {count - _SHOWN} more" for promise, count in shown.items() if count > _SHOWN]
        return "\n".join(lines)


def _answered(evidence: Evidence, account: Account) -> Iterator[Breach]:
    """I1: every accepted job has an outcome; I4: the right one, whatever was beside it; I7: to the last bit."""
    destroyed = set(evidence.unreadable)
    for job in evidence.accepted:
        place = (job.partition, job.offset)
        many = account.by_place.get(place, ())
        if not many and not (place in destroyed and account.gap_of(place) is not None):
            yield Breach("I1", f"{job} has no outcome")
        for one in many:
            objection = job.job.expected.objection(one.outcome, job.time_ms, one.record.time_ms)
            if objection is not None:
                yield Breach("I4", f"the outcome of {job} {objection}")


def _paid(evidence: Evidence, account: Account) -> Iterator[str]:
    """I4: nobody pays for what others do, but for one job at most for each engine or worker that we ended."""
    for job in evidence.accepted:
        expected = job.job.expected
        outcomes = [one.outcome for one in account.by_place.get((job.partition, job.offset), ())]
        tries = max((outcome.attempts for outcome in outcomes), default=1)
        if tries > expected.attempts[1] and not expected.anything:
            yield f"{job} had {tries} tries, and {expected.attempts[1]} are right"
        elif expected.may_crash and any(outcome.error_code not in (expected.code, None) for outcome in outcomes):
            yield f"{job} ended with engine_crash, and {expected.code} is right"
