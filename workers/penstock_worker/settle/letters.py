"""Owns what a worker puts into a dead letter or a retry record, and the outcome that stands in for one that is too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from penstock_schemas.dead import Letter, build_gap_letter, build_letter
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import parse_job_headers
from penstock_schemas.outcomes import encode_failed
from penstock_schemas.retries import Tries, build_retry_headers
from penstock_schemas.topics import LETTER_OVERHEAD
from penstock_worker.limits import too_large_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_schemas.headers import Header
    from penstock_schemas.settings import Settings
    from penstock_worker.engine.wire import Failure
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import TopicPartition


class Letters:
    """Writes one worker's letters and retry records. ``now_ms`` tells the time by the broker's clock."""

    def __init__(self, settings: Settings, worker: str, now_ms: Callable[[], float]) -> None:
        self._now_ms = now_ms
        self._limit = settings.topics.max_job_bytes + LETTER_OVERHEAD
        self._worker = worker

    def tries(self, delivery: Delivery, index: int, failure: Failure) -> Tries:
        """What is known of a job's tries, the one that just failed among them."""
        error = JobError(ErrorCode(failure.code), failure.message)
        return delivery.tries(index).failed(
            error, time_ms=round(self._now_ms()), worker=self._worker, model=failure.model, version=failure.version
        )

    def job(self, delivery: Delivery, index: int, job_id: bytes, failure: Failure, tries: Tries) -> Letter:
        """The letter for one failed job: its own bytes and headers untouched, and what happened."""
        return build_letter(
            delivery.values[index],
            max_bytes=self._limit,
            job_id=job_id,
            tries=tries,
            error=JobError(ErrorCode(failure.code), failure.message),
            evidence=failure.evidence,
            batch_rows=failure.batch_rows,
            worker=self._worker,
            time_ms=round(self._now_ms()),
        )

    def retry(self, job_id: bytes | None, error: JobError, tries: Tries, delay: float) -> list[Header]:
        """Headers of the record that takes a job's place; ``tries`` are those of its next try, ``delay`` in seconds."""
        due_ms = round(self._now_ms() + delay * 1000)
        return build_retry_headers(tries, job_id=job_id, error=error, worker=self._worker, due_ms=due_ms)

    def gap(self, partition: TopicPartition, first: int, last: int, reason: str) -> Letter:
        """The letter for offsets ``first`` to ``last``, which nobody has read."""
        topic, number = partition
        return build_gap_letter(
            topic=topic,
            partition=number,
            first=first,
            last=last,
            reason=reason,
            worker=self._worker,
            time_ms=round(self._now_ms()),
        )


def deadline_of(tries: Tries, timeout_us: int | None) -> int | None:
    """A job's deadline in Unix ms by the broker's clock, or None where it has none."""
    told = parse_job_headers(tries.original).deadline_ms if tries.original else None
    if told is not None or timeout_us is None or tries.origin_timestamp_ms < 0:
        return told
    return tries.origin_timestamp_ms + timeout_us // 1000


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
