"""Owns what the readiness probe of the work role says: the first thing that keeps a worker from finishing jobs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock_worker.engine.pool import Pool
    from penstock_worker.intake.consumer import Intake
    from penstock_worker.settle.breaker import Breaker
    from penstock_worker.settle.outbox import Outbox
    from penstock_worker.topics import TopicWatch


def why_not_ready(pool: Pool, intake: Intake, outbox: Outbox, breaker: Breaker, topics: TopicWatch) -> str | None:
    """What is wrong, in a sentence, or None. Called from another thread than the worker's, so it only reads."""
    if (problem := pool.problem()) is not None:
        return problem
    if (problem := outbox.problem) is not None:
        return problem
    if (problem := intake.health.problem) is not None:
        return problem
    if failing := breaker.unready(time.monotonic()):
        return f"every job of {', '.join(failing)} fails"
    if (problem := topics.problem) is not None:  # without its topics it may not get into the group, either
        return problem
    return None if intake.joined else "is not in the consumer group"
