"""Owns the verdict on dead letters: whole, for jobs that deserve them, and there before the outcome is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from tests.faults.told import Account, Breach, Letter, Told

from penstock_schemas.dead import LETTER_HEADERS
from penstock_schemas.retries import own_headers

if TYPE_CHECKING:
    from tests.faults.records import Accepted, Evidence

    from penstock_schemas.headers import Header


def check_letters(evidence: Evidence, account: Account) -> Iterator[Breach]:
    jobs = {(job.partition, job.offset): job for job in evidence.accepted}
    for letter in account.letters:
        job = None if letter.place is None else jobs.get(letter.place)
        if letter.facts.gap is not None:
            yield from _gap(letter, evidence)
        elif job is None:
            yield Breach("letters", f"{letter} is of {letter.facts.origin}, where no job was accepted")
        else:
            yield from _whole(letter, job)
            if not job.job.expected.may_fail:
                yield Breach("I4", f"{letter} says {letter.facts.error_code} of {job}, which is to succeed")
    for told in account.told:
        if told.outcome.status == "failed":
            yield from _before(told, account)


def _gap(letter: Letter, evidence: Evidence) -> Iterator[Breach]:
    """Only what the test destroyed may be told as a gap."""
    first, last = letter.facts.gap or (0, -1)
    lost = {offset for partition, offset in evidence.unreadable if letter.place is None or partition == letter.place[0]}
    if not lost or first < min(lost) or last > max(lost):
        yield Breach("I1", f"{letter} says that offsets {first} to {last} of {letter.facts.origin} were lost")


def _whole(letter: Letter, job: Accepted) -> Iterator[Breach]:
    if (letter.record.value or b"") != (job.job.value or b"") or letter.facts.is_null != (job.job.value is None):
        yield Breach("letters", f"{letter} does not hold the bytes of {job}")
    own = own_headers(letter.record.headers)
    ours = letter.record.headers[: len(letter.record.headers) - len(own)]
    if not same_headers(own, job) or any(name not in LETTER_HEADERS for name, _ in ours):
        yield Breach("letters", f"{letter} does not hold the headers of {job}: {letter.record.headers}")
    named = (letter.record.key or b"").decode(errors="replace"), letter.facts.id
    if not job.job.any_id and named != (job.id, job.id):
        yield Breach("letters", f"{letter} is of {job}, and has key {named[0]} and id {named[1]}")
    if letter.facts.error_code is None or letter.facts.error is None or letter.facts.time is None:
        yield Breach("letters", f"{letter} does not say what failed when")


def same_headers(kept: Sequence[Header], job: Accepted) -> bool:
    """Whether ``kept`` are the headers of ``job``, also where those look like ours."""
    return list(kept) == list(job.job.headers)


def _before(told: Told, account: Account) -> Iterator[Breach]:
    """A failed outcome's letter was there before it, for the same generation and with the same code."""
    outcome = told.outcome
    letters = [letter for letter in account.letters_of.get(told.place, ()) if letter.facts.generation == outcome.generation]
    same = [letter for letter in letters if letter.facts.error_code == outcome.error_code]
    if min((letter.record.time_ms for letter in same), default=inf) > told.record.time_ms:
        codes = ", ".join(str(letter.facts.error_code) for letter in letters) or "none"
        what = f"{outcome.id} failed with {outcome.error_code} without such a dead letter before its outcome"
        yield Breach("letters", f"{what} (letters: {codes})")
