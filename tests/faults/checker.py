"""Owns the verdict on a fleet's life: from what was accepted and what the topics and Redis hold, job by job. Pure.

A job's place is the partition and offset of its record. Its outcomes are those whose ``origin`` is its place, so of a job
that was submitted twice each record must have been answered.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Final

import numpy as np
from tests.faults.records import Accepted, Evidence, Record

from penstock_schemas.outcomes import ContractError, Outcome, decode_outcome

_SHOWN: Final = 5
_EXPIRY_SLACK_MS: Final = 2000

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Breach:
    """One promise, broken once. ``promise`` is I1 to I8 as in the design, or a word."""

    promise: str
    what: str


@dataclass(frozen=True, slots=True)
class _Told:
    """An outcome record, read."""

    record: Record
    outcome: Outcome
    place: Place | None


class Verdict:
    """Every breach of ``evidence``; ``str()`` gives some of each promise."""

    def __init__(self, evidence: Evidence) -> None:
        told, breaches = _read(evidence)
        by_place = defaultdict[Place | None, list[_Told]](list)
        by_id = defaultdict[str, list[_Told]](list)
        for one in told:
            by_place[one.place].append(one)
            by_id[one.outcome.id].append(one)
        self.accepted = len(evidence.accepted)
        self.repeated = sum(len(many) - 1 for many in by_place.values())
        """Outcome records beyond one a job: what at-least-once has cost."""
        firsts, disorder = _firsts(by_id)
        self.breaches: list[Breach] = [
            *breaches,
            *disorder,
            *_answered(evidence, by_place),
            *_contradictions(evidence, by_place, by_id),
            *_redis(evidence, firsts),
            *_commits(evidence, by_place),
            *_lag(evidence),
            *_letters(evidence, told),
        ]

    @property
    def promises(self) -> set[str]:
        """Which promises were broken."""
        return {breach.promise for breach in self.breaches}

    def __str__(self) -> str:
        lines = [f"{self.accepted} jobs accepted, {self.repeated} outcomes repeated, {len(self.breaches)} breaches"]
        shown = Counter[str]()
        for breach in self.breaches:
            shown[breach.promise] += 1
            if shown[breach.promise] <= _SHOWN:
                lines.append(f"  {breach.promise}: {breach.what}")
        lines += [f"  {promise}: and {count - _SHOWN} more" for promise, count in shown.items() if count > _SHOWN]
        return "\n".join(lines)


def _read(evidence: Evidence) -> tuple[list[_Told], list[Breach]]:
    """The outcomes, and what in their topic is none, or answers nothing that was submitted."""
    places = {(job.partition, job.offset): job.id for job in evidence.accepted}
    told: list[_Told] = []
    breaches: list[Breach] = []
    for record in evidence.outcomes:
        where = f"outcomes-{record.partition}-{record.offset}"
        try:
            outcome = decode_outcome(record.value or b"")
        except ContractError as error:
            breaches.append(Breach("stray", f"{where} is no outcome: {error}"))
            continue
        if record.key != outcome.id.encode():
            breaches.append(Breach("stray", f"{where} has key {record.key!r} and id {outcome.id}"))
        place = _place(evidence.jobs_topic, outcome.origin)
        if place is None or place not in places:
            breaches.append(Breach("stray", f"{where} ({outcome.id}) answers {outcome.origin}, where no job was accepted"))
        elif places[place] != outcome.id:
            breaches.append(Breach("stray", f"{where} answers {outcome.origin} as {outcome.id}; that job is {places[place]}"))
        told.append(_Told(record, outcome, place))
    return told, breaches


def _place(topic: str, origin: str | None) -> Place | None:
    name, partition, offset = (["", *(origin or "").rsplit("-", 2)])[-3:]
    return (int(partition), int(offset)) if name == topic and partition.isdigit() and offset.isdigit() else None


def _firsts(by_id: Mapping[str, Sequence[_Told]]) -> tuple[dict[str, _Told], list[Breach]]:
    """By id the outcome that counts: of the newest generation the first record."""
    firsts: dict[str, _Told] = {}
    breaches: list[Breach] = []
    for job_id, many in by_id.items():
        partitions = {one.record.partition for one in many}
        if len(partitions) > 1:
            what = f"{job_id} has outcomes in partitions {sorted(partitions)}: none of them is the first"
            breaches.append(Breach("I2", what))
        firsts[job_id] = min(many, key=lambda one: (-one.outcome.generation, one.record.offset))
    return firsts, breaches


def _answered(evidence: Evidence, by_place: Mapping[Place | None, Sequence[_Told]]) -> Iterator[Breach]:
    """I1: every accepted job has an outcome; I4: the right one, whatever was beside it."""
    for job in evidence.accepted:
        many = by_place.get((job.partition, job.offset), ())
        if not many:
            yield Breach("I1", f"{job} has no outcome")
        for one in many:
            objection = job.job.expected.objection(one.outcome)
            if objection is not None:
                yield Breach("I4", f"the outcome of {job} {objection}")


def _contradictions(
    evidence: Evidence, by_place: Mapping[Place | None, Sequence[_Told]], by_id: Mapping[str, Sequence[_Told]]
) -> Iterator[Breach]:
    """I3: outcomes of one id and generation agree (or, where an id was given to different jobs, those of one place)."""
    jobs = defaultdict[str, set[int]](set)
    for job in evidence.accepted:
        jobs[job.id].add(id(job.job))
    groups = [many for job_id, many in by_id.items() if len(jobs[job_id]) <= 1]
    groups += [many for many in by_place.values() if len(jobs[many[0].outcome.id]) > 1]
    for many in groups:
        by_generation: dict[int, _Told] = {}
        for one in many:
            other = by_generation.setdefault(one.outcome.generation, one)
            if other is not one and not _agree(one.outcome, other.outcome):
                where = [f"outcomes-{two.record.partition}-{two.record.offset}" for two in (other, one)]
                yield Breach("I3", f"{one.outcome.id} has contradictory outcomes: {where[0]} and {where[1]}")


def _agree(one: Outcome, other: Outcome) -> bool:
    return (
        (one.status, one.error_code) == (other.status, other.error_code)
        and one.outputs.keys() == other.outputs.keys()
        and all(np.array_equal(array, other.outputs[name], equal_nan=True) for name, array in one.outputs.items())
    )


def _redis(evidence: Evidence, firsts: Mapping[str, _Told]) -> Iterator[Breach]:
    """I2: Redis holds the first outcomes, for as long as they are to stay, and nothing else; I3: nobody ever saw another."""
    for job_id, first in firsts.items():
        stored = evidence.results.get(job_id)
        if stored is None:
            yield Breach("I2", f"{job_id} has an outcome and no result in Redis")
            continue
        if stored.value != first.record.value:
            yield Breach("I2", f"Redis does not hold the first outcome of {job_id}: {_short(stored.value)}")
        wanted = first.record.time_ms + evidence.result_ttl_ms
        if abs(stored.expires_ms - wanted) > _EXPIRY_SLACK_MS:
            yield Breach("I2", f"{job_id} expires {stored.expires_ms - wanted} ms from when it should")
    for job_id in evidence.results.keys() - firsts.keys():
        yield Breach("I2", f"Redis holds a result of {job_id}, which has no outcome")
    for job_id, seen in evidence.sightings.items():
        first_value = firsts[job_id].record.value if job_id in firsts else None
        for value in seen:
            if value != first_value:
                yield Breach("I3", f"a reader saw a result of {job_id} that is not its first outcome: {_short(value)}")


def _commits(evidence: Evidence, by_place: Mapping[Place | None, Sequence[_Told]]) -> Iterator[Breach]:
    """I5: when an offset was committed, every job before it had its outcome in the topic."""
    partitions = defaultdict[int, list[Accepted]](list)
    for job in evidence.accepted:
        partitions[job.partition].append(job)
    offsets: dict[int, list[int]] = {}
    settled: dict[int, list[float]] = {}
    for partition, jobs in partitions.items():
        jobs.sort(key=lambda job: job.offset)
        offsets[partition] = [job.offset for job in jobs]
        answers = [by_place.get((partition, job.offset), ()) for job in jobs]
        times = [min((one.record.time_ms for one in many), default=inf) for many in answers]
        settled[partition] = list(accumulate(times, max))  # when all up to here were
    for commit in evidence.commits:
        before = bisect_left(offsets.get(commit.partition, []), commit.offset)
        if before and settled[commit.partition][before - 1] > commit.time_ms:
            guilty = partitions[commit.partition][bisect_left(settled[commit.partition], commit.time_ms + 1)]
            yield Breach("I5", f"jobs-{commit.partition} was committed up to {commit.offset} before {guilty} was settled")


def _lag(evidence: Evidence) -> Iterator[Breach]:
    """I6: in the end everything is read."""
    committed = {commit.partition: commit.offset for commit in evidence.commits}
    for partition, end in evidence.job_ends.items():
        done = committed.get(partition, 0)
        if done != end:
            yield Breach("I6", f"jobs-{partition} is committed up to {done} and ends at {end}")
    for partition, end in evidence.outcome_ends.items():
        done = evidence.positions.get(partition, 0)
        if done != end:
            yield Breach("I6", f"outcomes-{partition} is projected up to {done} and ends at {end}")


def _letters(evidence: Evidence, told: Sequence[_Told]) -> Iterator[Breach]:
    """A failed job's original bytes were among the dead letters before its outcome was told."""
    values = {job.id: job.job.value or b"" for job in evidence.accepted}
    earliest: dict[str, int] = {}
    for letter in evidence.letters:
        job_id = (letter.key or b"").decode(errors="replace")
        if (letter.value or b"") == values.get(job_id):
            earliest[job_id] = min(letter.time_ms, earliest.get(job_id, letter.time_ms))
        else:
            yield Breach("letters", f"dead-{letter.partition}-{letter.offset} ({job_id}) does not hold its job's bytes")
    for one in told:
        if one.outcome.status == "failed" and earliest.get(one.outcome.id, inf) > one.record.time_ms:
            yield Breach("letters", f"{one.outcome.id} failed without a dead letter before its outcome")


def _short(value: bytes) -> str:
    return repr(value[:160])
