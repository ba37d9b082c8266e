"""Owns making deliveries of retry records: each job goes under its origin, beside what is alike, or by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from penstock_schemas.retries import Tries, is_probe, parse_tries
from penstock_worker.intake.delivery import Delivery, Headers, read_headers

if TYPE_CHECKING:
    from confluent_kafka import Message

    from penstock_worker.intake.ledger import Entry, TopicPartition


class Retried(NamedTuple):
    """Deliveries for the engines; and jobs that have killed an engine, or a worker, while they ran alone, one each."""

    deliveries: list[Delivery]
    dangerous: list[Delivery]


class _Job(NamedTuple):
    message: Message
    headers: Headers
    tries: Tries
    entry: Entry


def from_retries(
    messages: Sequence[Message], open_entry: Callable[[TopicPartition, int, int], Entry], most_bytes: int, last_wait: float
) -> Retried:
    """Deliveries of retry records, of at most ``most_bytes`` each (a larger record stands alone).

    ``open_entry`` enters a run in the ledger: partition, last offset, records. Probes are entered as runs of no record.
    Jobs that have waited ``last_wait`` seconds have their last chance.
    """
    jobs: list[_Job] = []
    headers = read_headers(messages)
    for index, message in enumerate(messages):
        own = headers.get(index, [])
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        probe = is_probe(own)
        entry = open_entry((topic, partition), offset, 0 if probe else 1)
        if not probe:
            stamp = message.timestamp()[1]
            tries = parse_tries(own, topic=topic, partition=partition, offset=offset, timestamp_ms=stamp, retried=True)
            jobs.append(_Job(message, own, tries, entry))
    groups: dict[tuple[str, bool], list[_Job]] = defaultdict(list)
    for job in jobs:
        if not job.tries.kills:
            groups[job.tries.place[0], job.tries.waited >= last_wait].append(job)
    deliveries: list[Delivery] = []
    for (_, last_chance), group in groups.items():
        for part in _parts(group, most_bytes):
            deliveries.append(_delivery(part))
            deliveries[-1].last_chance = last_chance
    return Retried(deliveries, [_delivery([job]) for job in jobs if job.tries.kills])


def _parts(jobs: list[_Job], most_bytes: int) -> list[list[_Job]]:
    parts: list[list[_Job]] = []
    total = 0
    for job in jobs:
        if not parts or total + len(job.message) > most_bytes:
            parts.append([])
            total = 0
        parts[-1].append(job)
        total += len(job.message)
    return parts


def _delivery(jobs: list[_Job]) -> Delivery:
    count = len(jobs)
    places = [job.tries.place for job in jobs]
    made = Delivery(
        places[0][0],
        [job.message.value() for job in jobs],
        [job.message.key() for job in jobs],
        np.fromiter([job.tries.origin_timestamp_ms for job in jobs], np.int64, count),
        np.fromiter([place[1] for place in places], np.int32, count),
        np.fromiter([place[2] for place in places], np.int64, count),
        {index: job.headers for index, job in enumerate(jobs) if job.headers},
    )
    made.entries = [job.entry for job in jobs]
    made.which = np.arange(count, dtype=np.int32)
    made.retried = True
    return made
