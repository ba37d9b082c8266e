"""Owns how a worker's consumers are tuned: how much they fetch and hold, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from penstock_schemas.topics import LETTER_OVERHEAD
from penstock_worker.kafka import group_properties

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings


_STATIC: Final = "group.instance.id"
_LESS: Final = 4
"""Retries are few beside new jobs: they are fetched ahead so much less."""


def jobs_properties(settings: Settings, worker: str, topic: str) -> dict[str, Any]:
    """librdkafka's properties for a consumer of one jobs topic, which reads from the earliest record."""
    properties = _properties(settings, worker, settings.worker.prefetch_bytes)
    if _STATIC in properties and topic != settings.names.jobs():
        properties[_STATIC] += f"-{topic}"  # each member must have one of its own
    return properties


def retries_properties(settings: Settings, worker: str) -> dict[str, Any]:
    """The same for the retry topics."""
    properties = _properties(settings, f"{worker}-retries", settings.worker.prefetch_bytes // _LESS)
    if _STATIC in properties:
        properties[_STATIC] += "-retries"
    return properties


def _properties(settings: Settings, client: str, prefetch_bytes: int) -> dict[str, Any]:
    largest = settings.topics.max_job_bytes + LETTER_OVERHEAD
    tuning = {
        "client.id": client,
        # The default, five minutes, is how long a topic that is made again may stay unseen.
        "topic.metadata.refresh.interval.ms": 10_000,
        "fetch.message.max.bytes": max(largest, 1024 * 1024),
        # Else the client hangs up, again and again, on an answer that holds one job of more than its 100 MB.
        "receive.message.max.bytes": max(100_000_000, largest + 1024 * 1024),
        "queued.max.messages.kbytes": max(prefetch_bytes, largest) // 1024,
        # Each message that waits takes some 600 bytes besides its own: so many deliveries keep an engine fed.
        "queued.min.messages": 2 * settings.worker.window * settings.worker.delivery_records,
    }
    return group_properties(settings, settings.names.workers_group, tuning=tuning)
