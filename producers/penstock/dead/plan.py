"""Owns the decision about one letter: whether its job may be sent again, why not, and as what."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from penstock.dead.letters import DeadLetter
from penstock.dead.mending import Checker, Mended, Mender, NotMended
from penstock_schemas.dead import REDRIVEN, Letter
from penstock_schemas.headers import (
    PENSTOCK_ATTEMPT,
    PENSTOCK_GENERATION,
    PENSTOCK_ID,
    UNREADABLE,
    Header,
    first_values,
    parse_rfc3339,
    rfc3339,
)

DEADLINE: Final = "ce_deadline"
MAX_GENERATION: Final = 3
_REPLACED: Final = frozenset({PENSTOCK_ID, PENSTOCK_GENERATION, PENSTOCK_ATTEMPT, REDRIVEN, UNREADABLE})
"""Headers of the job's own that are not sent again: what they say is said anew, or was about the earlier record."""
_ORIGIN: Final = re.compile(r"(?P<topic>.+)-[0-9]+-[0-9]+")


class Reason(StrEnum):
    """Why a letter's job is not sent again."""

    GAP = "gap"
    NO_BODY = "no_body"
    UNREADABLE = "unreadable"
    NO_TOPIC = "no_topic"
    REPEAT = "repeat"
    REDRIVEN = "redriven"
    GENERATION = "generation"
    OUTCOME = "outcome"
    DEADLINE = "deadline"
    DROPPED = "dropped"
    NOT_MENDED = "not_mended"
    INVALID = "invalid"
    TOO_LARGE = "too_large"


REASONS: Final[dict[Reason, str]] = {
    Reason.GAP: "about records that nobody has read: there is no job in them",
    Reason.NO_BODY: "without a body, which was too large to keep: submit the job anew from where it came from",
    Reason.UNREADABLE: "without a word on which job is meant",
    Reason.NO_TOPIC: "from a topic that is no jobs topic of this fleet, or is not there any more",
    Reason.REPEAT: "about a job that another letter tells of, too: it goes once",
    Reason.REDRIVEN: "redriven before (--again sends once more)",
    Reason.GENERATION: "come back too often (--max-generation)",
    Reason.OUTCOME: "overtaken: the job's result in Redis tells of another outcome by now (--unchecked)",
    Reason.DEADLINE: "past the job's deadline: it would expire at once (--deadline none, or --deadline SECONDS)",
    Reason.DROPPED: "left out by the function of --edit",
    Reason.NOT_MENDED: "not to be mended",
    Reason.INVALID: "still no valid job when mended (--force)",
    Reason.TOO_LARGE: "larger than the jobs topic takes, with the new headers (topics.max_job_bytes)",
}
"""Each reason, behind the number of letters that are left for it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What Redis says of a job now."""

    status: str
    generation: int
    code: str | None
    origin: str | None

    def is_failure_of(self, letter: DeadLetter) -> bool:
        """Whether it is the outcome that followed this very letter."""
        facts = letter.facts
        return (self.status, self.generation, self.code, self.origin) == (
            "failed",
            facts.generation,
            facts.error_code,
            facts.origin,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What may go. ``deadline``: seconds that a job with a deadline gets anew, ``none`` to take it away, None: as it is."""

    topics: Collection[str]
    max_generation: int = MAX_GENERATION
    max_job_bytes: int = 4 * 1024 * 1024
    again: bool = False
    force: bool = False
    deadline: float | Literal["none"] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job that is to be sent again, and the letter that it comes from."""

    letter: DeadLetter
    topic: str
    key: bytes
    value: bytes | None
    headers: list[Header]
    generation: int
    changed: bool
    new: tuple[str, ...] = ()
    """Paths of fields that its request had not had."""

    @property
    def size(self) -> int:
        """Bytes that its record takes in a batch."""
        return Letter(self.key, self.value or b"", self.headers).size


@dataclass(frozen=True, slots=True)
class Left:
    """A letter whose job is not sent again; ``detail``: what about it in particular."""

    letter: DeadLetter
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes jobs of letters, or says why not."""

    rules: Rules
    mender: Mender = field(default_factory=Mender)
    checker: Checker | None = None
    """What mended bodies are held against; None: nothing."""

    def refuse(self, letter: DeadLetter) -> Reason | None:
        """Why this letter cannot go whatever Redis says; None where it may. Whether it went before is the caller's to know."""
        if letter.is_gap:
            return Reason.GAP
        if letter.id is None or topic_of(letter) is None:
            return Reason.UNREADABLE
        if not letter.has_body:
            return Reason.NO_BODY
        if topic_of(letter) not in self.rules.topics:
            return Reason.NO_TOPIC
        if letter.facts.generation >= self.rules.max_generation:
            return Reason.GENERATION
        return None

    def detail(self, letter: DeadLetter, reason: Reason) -> str:
        """What there is to say of this letter besides why `refuse` is against it."""
        if reason is not Reason.GENERATION:
            return ""
        return f"it failed in generation {letter.facts.generation}, and --max-generation is {self.rules.max_generation}"

    def plan(self, letter: DeadLetter, now_ms: int) -> Job | Left:
        """The job to send for a letter that `refuse` has nothing against."""
        topic, job_id = topic_of(letter), letter.id
        assert topic is not None
        assert job_id is not None
        if self.rules.deadline is None and _deadline_is_past(letter, now_ms):
            return Left(letter, Reason.DEADLINE)
        mended = self.mender.mend(letter)
        if isinstance(mended, NotMended):
            return Left(letter, Reason.DROPPED if mended.dropped else Reason.NOT_MENDED, mended.message)
        generation = letter.facts.generation + 1
        headers = _headers(letter, mended, generation, self._deadline(now_ms))
        job = Job(letter, topic, job_id.encode(), mended.value, headers, generation, mended.changed, mended.new)
        if mended.changed and self.checker is not None and not self.rules.force:
            error = self.checker.problem(job.value, job.key, job.headers)
            if error is not None:
                return Left(letter, Reason.INVALID, f"{error.code.value}: {error.message}")
        if job.size > self.rules.max_job_bytes:
            return Left(letter, Reason.TOO_LARGE, f"{job.size:,} bytes")
        return job

    def _deadline(self, now_ms: int) -> str | None:
        """What ce_deadline becomes: None: stays as it is; empty: goes."""
        if self.rules.deadline is None:
            return None
        return "" if self.rules.deadline == "none" else rfc3339(now_ms + round(self.rules.deadline * 1000))


def topic_of(letter: DeadLetter) -> str | None:
    """The topic that the job was first in."""
    found = _ORIGIN.fullmatch(letter.facts.origin or "")
    return None if found is None else found["topic"]


def _headers(letter: DeadLetter, mended: Mended, generation: int, deadline: str | None) -> list[Header]:
    """Ours first, so that they count, then the job's own."""
    headers: list[Header] = [
        (PENSTOCK_ID, (letter.id or "").encode()),
        (PENSTOCK_GENERATION, b"%d" % generation),
        (REDRIVEN, letter.identity.encode()),
    ]
    for name, value in mended.headers:
        if name.lower() in _REPLACED:
            continue
        if name.lower() == DEADLINE and deadline is not None:
            if deadline:
                headers.append((name, deadline.encode()))
            continue
        headers.append((name, value))
    return headers


def _deadline_is_past(letter: DeadLetter, now_ms: int) -> bool:
    told = first_values(letter.own).get(DEADLINE)
    deadline = None if told is None else parse_rfc3339(told.decode("utf-8", "replace"))
    return deadline is not None and deadline < now_ms
