"""Owns what a worker puts into a dead letter, and the outcome that stands in for one that is too large."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.outcomes import decode_outcome, encode_failed

if TYPE_CHECKING:
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import TopicPartition


class Letter(NamedTuple):
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes | None]]


def job_letter(
    delivery: Delivery, index: int, job_id: bytes, failure: tuple[str, str, str], worker: str, limit: int
) -> Letter:
    return Letter(job_id, delivery.values[index] or b"", [("penstock-error-code", failure[0].encode())])


def gap_letter(partition: TopicPartition, first: int, last: int, worker: str) -> Letter:
    return Letter(b"", b"", [("penstock-gap", f"{first}-{last}".encode())])


def too_large_outcome(value: bytes) -> bytes:
    """The failed outcome that takes the place of one that the topic refused for its size."""
    outcome = decode_outcome(value)
    error = JobError(
        ErrorCode.OUTCOME_TOO_LARGE,
        f"the outcome takes {len(value)} bytes, which is more than the outcomes topic takes: ask for fewer outputs, or raise topics.max_outcome_bytes",
    )
    return encode_failed(
        id=outcome.id.encode(),
        status="failed",
        error=error,
        model_name=outcome.model_name,
        model_version=outcome.model_version,
        origin=outcome.origin or "",
        attempts=outcome.attempts,
        generation=outcome.generation,
        reply_to=outcome.reply_to,
    )
