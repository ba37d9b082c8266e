"""Owns the verdict on commits: I5, nothing was committed past an unsettled record, and I6, in the end all was. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import TYPE_CHECKING

from tests.faults.told import Account, Breach, Place

from penstock_schemas.retries import is_probe

if TYPE_CHECKING:
    from tests.faults.records import Commit, Evidence


def check_commits(evidence: Evidence, account: Account) -> Iterator[Breach]:
    """I5, for the jobs topic and every retry topic.

    A job is settled by an outcome or by a retry record; a retry record by its job's outcome or by a later retry record.
    """
    jobs = {(job.partition, job.offset): account.settled_ms((job.partition, job.offset)) for job in evidence.accepted}
    yield from _past_unsettled(evidence.jobs_topic, evidence.commits, jobs)
    for topic, held in evidence.retries.items():
        mine = [tried for tried in account.tried if tried.topic == topic]
        records = {(tried.record.partition, tried.record.offset): account.resettled_ms(tried) for tried in mine}
        yield from _past_unsettled(topic, held.commits, records)


def check_lag(evidence: Evidence) -> Iterator[Breach]:
    """I6: in the end everything is read, and everything told is in Redis."""
    yield from _unread(evidence.jobs_topic, evidence.commits, evidence.job_ends)
    for topic, held in evidence.retries.items():
        # A worker that came at the very end may have asked for the time, and gone before it read its own question.
        probes = {(record.partition, record.offset) for record in held.records if is_probe(record.headers)}
        ends = {partition: _before(partition, end, probes) for partition, end in held.ends.items()}
        yield from _unread(topic, held.commits, ends)
    for partition, end in evidence.outcome_ends.items():
        done = evidence.positions.get(partition, 0)
        if done != end:
            yield Breach("I6", f"outcomes-{partition} is projected up to {done} and ends at {end}")


def _past_unsettled(topic: str, commits: Sequence[Commit], settled_ms: Mapping[Place, float]) -> Iterator[Breach]:
    """``settled_ms``: when the record at each place was settled."""
    partitions = defaultdict[int, list[int]](list)
    for partition, offset in sorted(settled_ms):
        partitions[partition].append(offset)
    until = {  # when all up to here were
        partition: list(accumulate((settled_ms[partition, offset] for offset in offsets), max))
        for partition, offsets in partitions.items()
    }
    for commit in commits:
        before = bisect_left(partitions.get(commit.partition, []), commit.offset)
        if before and until[commit.partition][before - 1] > commit.time_ms:
            guilty = partitions[commit.partition][bisect_left(until[commit.partition], commit.time_ms + 1)]
            where = f"{topic}-{commit.partition}"
            yield Breach("I5", f"{where} was committed up to {commit.offset} before the record at {guilty} was settled")


def _before(partition: int, end: int, probes: AbstractSet[Place]) -> int:
    """The end of a partition without the probes there."""
    while (partition, end - 1) in probes:
        end -= 1
    return end


def _unread(topic: str, commits: Sequence[Commit], ends: Mapping[int, int]) -> Iterator[Breach]:
    committed = {commit.partition: commit.offset for commit in commits}
    for partition, end in ends.items():
        done = committed.get(partition, 0)
        if done < end:
            yield Breach("I6", f"{topic}-{partition} is committed up to {done} and ends at {end}")
