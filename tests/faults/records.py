"""Owns what a fleet's life leaves behind, as values: jobs that were accepted, records, commits, results. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock_schemas.ids import derived_id

if TYPE_CHECKING:
    from tests.faults.jobs import Job

    from penstock_schemas.headers import Header


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job whose record the broker has confirmed; ``time_ms`` is its LogAppendTime."""

    job: Job
    partition: int
    offset: int
    time_ms: int

    @property
    def id(self) -> str:
        return self.job.id or derived_id(self.partition, self.offset, self.time_ms)

    def __str__(self) -> str:
        return f"{self.id} (jobs-{self.partition}-{self.offset})"


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a topic; ``time_ms`` is its LogAppendTime."""

    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """The workers' group committed ``offset`` (the next to read) of a partition of one topic, at ``time_ms``."""

    partition: int
    offset: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A result in Redis, and when it expires (ms since 1970, as exactly as Redis tells)."""

    value: bytes
    expires_ms: int


@dataclass(frozen=True, slots=True)
class RetryTopic:
    """What a retry topic holds. ``ends``: by partition, the offset after its last record; ``commits``: all that were made."""

    delay: float
    """Seconds that each of its records waits."""
    records: Sequence[Record] = ()
    commits: Sequence[Commit] = ()
    ends: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is left of a fleet's life.

    ``commits`` are all that were ever made for the jobs topic, in order. ``sightings``: by id, each result that a reader has
    seen at any time. ``job_ends``, ``outcome_ends``: the offsets after the last record, by partition. ``positions``: the
    projectors', likewise. ``retries``: by topic.
    """

    jobs_topic: str
    result_ttl_ms: int
    accepted: Sequence[Accepted]
    outcomes: Sequence[Record]
    letters: Sequence[Record]
    commits: Sequence[Commit]
    results: Mapping[str, Stored]
    job_ends: Mapping[int, int]
    outcome_ends: Mapping[int, int]
    positions: Mapping[int, int]
    sightings: Mapping[str, Collection[bytes]] = field(default_factory=dict[str, Collection[bytes]])
    retries: Mapping[str, RetryTopic] = field(default_factory=dict[str, RetryTopic])
    deaths: int = 0
    """Engines and workers that the test has killed, frozen or cut off: each may cost one job a try, or its code, if that
    job was just being run by itself."""
    unreadable: Collection[tuple[int, int]] = ()
    """Places (partition and offset) of jobs whose records the test has destroyed: those may end as a gap."""
