"""Owns the summary line: what one wants to see at 3 a.m., every ten seconds under load and never when idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_worker.metrics import WorkerMetrics

EVERY: Final = 10.0


class Summary:
    """Compares the totals with those of the last line."""

    def __init__(self, metrics: WorkerMetrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._log = structlog.get_logger("penstock.worker")
        self._before = dict(metrics.totals)
        self._since = clock()

    @property
    def due(self) -> bool:
        """Whether it is time for a line."""
        return self._clock() >= self._since + EVERY

    def say(self, *, lag: int, in_flight: int, partitions: int) -> None:
        """Set the gauges, and log a line if any job was answered since the last one."""
        self._metrics.in_flight.set(in_flight)
        self._metrics.partitions.set(partitions)
        now, totals = self._clock(), dict(self._metrics.totals)
        done = {key: totals[key] - self._before[key] for key in totals}
        if done["jobs"]:
            self._log.info(
                "summary",
                jobs_per_s=round(done["jobs"] / (now - self._since), 1),
                rows_per_batch=round(done["rows"] / max(1, done["batches"]), 1),
                lag=lag,
                in_flight=in_flight,
                failed=done["failed"],
            )
        self._before, self._since = totals, now
