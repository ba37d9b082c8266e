"""Owns what a worker puts into a dead letter, and the outcome that stands in for one that is too large."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import orjson

from penstock_schemas.dead import DIGEST, SIZE, Letter, build_gap_letter, build_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.outcomes import encode_failed
from penstock_schemas.topics import LETTER_OVERHEAD
from penstock_worker.limits import too_large_error

if TYPE_CHECKING:
    from penstock_schemas.headers import Header
    from penstock_schemas.settings import Settings
    from penstock_worker.engine.wire import Failure
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import TopicPartition


class Letters:
    """Writes one worker's letters."""

    def __init__(self, settings: Settings, worker: str) -> None:
        self._limit = settings.topics.max_job_bytes + LETTER_OVERHEAD
        self._worker = worker

    def job(self, delivery: Delivery, index: int, job_id: bytes, failure: Failure) -> Letter:
        """The letter for one failed job: its own bytes and headers untouched, and what happened."""
        return build_letter(
            delivery.values[index] or b"",
            max_bytes=self._limit,
            job_id=job_id,
            origin=f"{delivery.topic}-{delivery.partitions[index]}-{delivery.offsets[index]}",
            origin_timestamp_ms=int(delivery.timestamps_ms[index]),
            attempt=delivery.attempt,
            error=JobError(ErrorCode(failure.code), failure.message),
            evidence=failure.evidence,
            worker=self._worker,
            time_ms=_now_ms(),
            original=delivery.headers.get(index, ()),
        )

    def gap(self, partition: TopicPartition, first: int, last: int) -> Letter:
        """The letter for offsets ``first`` to ``last``, which retention deleted unread."""
        topic, number = partition
        return build_gap_letter(topic=topic, partition=number, first=first, last=last, worker=self._worker, time_ms=_now_ms())


def without_body(value: bytes, headers: list[Header]) -> list[Header]:
    """The headers of a letter that goes without its body ``value``, which the topic refused for its size."""
    return [(DIGEST, hashlib.sha256(value).hexdigest().encode()), (SIZE, b"%d" % len(value)), *headers]


def too_large_outcome(value: bytes) -> bytes:
    """The failed outcome that takes the place of one that the topic refused for its size."""
    line: dict[str, Any] = orjson.loads(value.partition(b"\n")[0])  # our own encoder wrote it
    return encode_failed(
        id=line["id"].encode(),
        status="failed",
        error=too_large_error(len(value), None),
        model_name=line.get("model_name"),
        model_version=line.get("model_version"),
        origin=line.get("origin", ""),
        attempts=line.get("attempts"),
        generation=line.get("generation"),
        reply_to=line.get("reply_to"),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
