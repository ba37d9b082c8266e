"""Owns what a fleet's life leaves behind, as values: jobs that were accepted, records, commits, results. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock_schemas.ids import derived_id

if TYPE_CHECKING:
    from tests.faults.jobs import Job


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


@dataclass(frozen=True, slots=True)
class Commit:
    """The workers' group committed ``offset`` (the next to read) of a partition of the jobs topic, at ``time_ms``."""

    partition: int
    offset: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A result in Redis, and when it expires (ms since 1970, as exactly as Redis tells)."""

    value: bytes
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is left of a fleet's life.

    ``commits`` are all that were ever made, in order. ``sightings``: by id, each result that a reader has seen at any time.
    ``job_ends``, ``outcome_ends``: the offsets after the last record, by partition. ``positions``: the projectors', likewise.
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
