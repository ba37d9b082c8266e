"""Owns what the checker makes of records: outcomes, retries and letters, each with the place of its job. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeVar

from penstock_schemas.dead import LetterFacts, parse_letter
from penstock_schemas.outcomes import ContractError, Outcome, decode_outcome
from penstock_schemas.retries import Tries, is_probe, parse_tries

if TYPE_CHECKING:
    from tests.faults.records import Evidence, Record

Place = tuple[int, int]
"""Partition and offset of a job's record."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One promise, broken once. ``promise`` is I1 to I8 as in the design, or a word."""

    promise: str
    what: str


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome record, read."""

    record: Record
    outcome: Outcome
    place: Place | None


@dataclass(frozen=True, slots=True)
class Tried:
    """A retry record, read. ``due_ms`` is when the broker's clock lets it be run."""

    topic: str
    record: Record
    tries: Tries
    place: Place | None
    due_ms: float

    def __str__(self) -> str:
        return f"{self.topic}-{self.record.partition}-{self.record.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, read. ``place`` is its job's, or for a gap that of the gap's first record."""

    record: Record
    facts: LetterFacts
    place: Place | None

    def __str__(self) -> str:
        return f"dead-{self.record.partition}-{self.record.offset} ({self.facts.id})"


_One = TypeVar("_One", Told, Tried, Letter)


class Account:
    """All that is told of jobs, by place."""

    def __init__(self, evidence: Evidence) -> None:
        self.strays: list[Breach] = []
        self.told = list(self._outcomes(evidence))
        self.tried = list(_retries(evidence))
        self.letters = list(_letters(evidence))
        self.redriven = list(_redriven(evidence))
        """Identities of letters, once for each record that says that the letter was redriven."""
        self.by_place: Mapping[Place | None, Sequence[Told]] = _grouped(self.told)
        self.tries_of: Mapping[Place | None, Sequence[Tried]] = _grouped(self.tried)
        letters = [letter for letter in self.letters if letter.facts.gap is None]
        self.letters_of: Mapping[Place | None, Sequence[Letter]] = _grouped(letters)
        self._gaps = [letter for letter in self.letters if letter.facts.gap is not None]

    def gap_of(self, place: Place) -> Letter | None:
        """The letter that says that the record at ``place`` could not be read, if there is one."""
        for letter in self._gaps:
            gap = letter.facts.gap
            if gap is not None and letter.place is not None and letter.place[0] == place[0] and gap[0] <= place[1] <= gap[1]:
                return letter
        return None

    def settled_ms(self, place: Place) -> float:
        """When the record of the job at ``place`` was settled first: by an outcome, a retry record or a gap's letter."""
        times: list[float] = [one.record.time_ms for one in self.by_place.get(place, ())]
        times += [one.record.time_ms for one in self.tries_of.get(place, ())]
        if not times and (gap := self.gap_of(place)) is not None:
            times.append(gap.record.time_ms)
        return min(times, default=inf)

    def resettled_ms(self, tried: Tried) -> float:
        """When a retry record was settled: its job has an outcome, or a later retry record."""
        times: list[float] = [one.record.time_ms for one in self.by_place.get(tried.place, ())]
        others = [one for one in self.tries_of.get(tried.place, ()) if one is not tried]
        times += [one.record.time_ms for one in others if one.record.time_ms >= tried.record.time_ms]
        return max(float(tried.record.time_ms), min(times, default=inf))

    def _outcomes(self, evidence: Evidence) -> Iterator[Told]:
        """The outcomes, and what in their topic is none, or answers nothing that was submitted."""
        jobs = {(job.partition, job.offset): job for job in evidence.accepted}
        for record in evidence.outcomes:
            where = f"outcomes-{record.partition}-{record.offset}"
            try:
                outcome = decode_outcome(record.value or b"")
            except ContractError as error:
                self.strays.append(Breach("stray", f"{where} is no outcome: {error}"))
                continue
            if record.key != outcome.id.encode():
                self.strays.append(Breach("stray", f"{where} has key {record.key!r} and id {outcome.id}"))
            place = place_of(evidence.jobs_topic, outcome.origin)
            job = None if place is None else jobs.get(place)
            if job is None:
                what = f"{where} ({outcome.id}) answers {outcome.origin}, where no job was accepted"
                self.strays.append(Breach("stray", what))
            elif not job.job.any_id and job.id != outcome.id:
                self.strays.append(Breach("stray", f"{where} answers {outcome.origin} as {outcome.id}; that job is {job.id}"))
            yield Told(record, outcome, place)


def place_of(topic: str, origin: str | None) -> Place | None:
    """The partition and offset in ``origin``, if it is one of ``topic``."""
    name, partition, offset = ["", "", *(origin or "").rsplit("-", 2)][-3:]
    return (int(partition), int(offset)) if name == topic and partition.isdigit() and offset.isdigit() else None


def _retries(evidence: Evidence) -> Iterator[Tried]:
    for topic, held in evidence.retries.items():
        for record in held.records:
            if is_probe(record.headers):
                continue
            tries = parse_tries(
                record.headers,
                topic=topic,
                partition=record.partition,
                offset=record.offset,
                timestamp_ms=record.time_ms,
                retried=True,
            )
            due_ms = record.time_ms + held.delay * 1000
            yield Tried(topic, record, tries, place_of(evidence.jobs_topic, tries.origin), due_ms)


def _letters(evidence: Evidence) -> Iterator[Letter]:
    for record in evidence.letters:
        facts = parse_letter(record.headers)
        if facts.redriven is not None and facts.origin is None:
            continue  # who redrove what
        yield Letter(record, facts, place_of(evidence.jobs_topic, facts.origin))


def _redriven(evidence: Evidence) -> Iterator[str]:
    for record in evidence.letters:
        facts = parse_letter(record.headers)
        if facts.redriven is not None and facts.origin is None:
            yield facts.redriven


def _grouped(many: Sequence[_One]) -> Mapping[Place | None, Sequence[_One]]:
    groups = defaultdict[Place | None, list[_One]](list)
    for one in many:
        groups[one.place].append(one)
    return groups
