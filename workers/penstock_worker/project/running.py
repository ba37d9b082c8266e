"""Owns one projector's life, from its clients to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_worker.project.consumer import OutcomeConsumer
from penstock_worker.project.plan import Planner
from penstock_worker.project.projector import Projector, ProjectorMetrics
from penstock_worker.project.redis_store import RedisStore

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from penstock_schemas.settings import Settings


def run_projector(
    settings: Settings, stop: threading.Event, *, ready: Callable[[], None], metrics: ProjectorMetrics | None = None
) -> None:
    """Project until ``stop`` is set; ``ready`` is called once, when it serves. Raises StoreUnsuitable if Redis can never do."""
    store = RedisStore(settings.redis, settings.names)
    planner = Planner(settings.names, settings.result_ttl)
    source = OutcomeConsumer(settings)
    projector = Projector(source, store, planner, settings.result_ttl, metrics=metrics)
    told = False
    try:
        while not stop.is_set():
            projector.turn()
            if metrics is not None:
                metrics.kafka_problem = source.health.problem
            if not told and projector.ready:
                told = True
                ready()
    finally:
        projector.close()
