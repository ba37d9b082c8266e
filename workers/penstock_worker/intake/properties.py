"""Owns how the consumer of jobs is tuned: how much it fetches and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock_schemas.topics import LETTER_OVERHEAD
from penstock_worker.kafka import group_properties

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings


def consumer_properties(settings: Settings, group: str) -> dict[str, Any]:
    """librdkafka's properties for a consumer of jobs, which reads from the earliest record."""
    largest = settings.topics.max_job_bytes + LETTER_OVERHEAD
    tuning = {
        "max.poll.interval.ms": 600_000,
        "fetch.message.max.bytes": max(largest, 1024 * 1024),
        # Else the client hangs up, again and again, on an answer that holds one job of more than its 100 MB.
        "receive.message.max.bytes": max(100_000_000, largest + 1024 * 1024),
        "queued.max.messages.kbytes": max(settings.worker.prefetch_bytes, largest) // 1024,
        # Each message that waits takes some 600 bytes besides its own: so many deliveries keep an engine fed.
        "queued.min.messages": 2 * settings.worker.window * settings.worker.delivery_records,
    }
    return group_properties(settings, group, reset="earliest", tuning=tuning)
