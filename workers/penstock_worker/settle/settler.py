"""Owns what an engine's answers, and its deaths, mean for jobs: who is published as what, and how a model does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import JobDecoder
from penstock_worker.limits import limits_of
from penstock_worker.settle.breaker import FAULTS, Breaker
from penstock_worker.settle.policy import Killed
from penstock_worker.settle.reject import reject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from penstock_schemas.settings import Settings
    from penstock_worker.engine.death import Charge
    from penstock_worker.engine.wire import Answer
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.metrics import WorkerMetrics
    from penstock_worker.settle.publisher import Publisher

_DANGEROUS: Final = JobError(ErrorCode.ENGINE_CRASH, "a worker died while it ran this job alone")


class Settler:
    """Settles jobs by what came of them."""

    def __init__(self, settings: Settings, publisher: Publisher, breaker: Breaker, metrics: WorkerMetrics) -> None:
        self._publisher = publisher
        self._breaker = breaker
        self._decoder = JobDecoder(limits_of(settings))
        self._metrics = metrics
        self._log = structlog.get_logger("penstock.settle")

    def settle(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        """Jobs ``indices`` of ``delivery`` are answered."""
        self._judge(answer, len(indices))
        self._publish(delivery, answer, indices)

    def end(self, delivery: Delivery, indices: Sequence[int], error: JobError) -> None:
        """Jobs ``indices`` of ``delivery`` are to end with ``error``: no engine will answer them."""
        self._publish(delivery, reject(delivery, indices, error, self._decoder), np.array(indices, np.int64))

    def blame(self, delivery: Delivery, index: int, charge: Charge) -> None:
        """A job was alone when its engine died: it is tried again later, or ends."""
        decoder = None if charge.model is None else self._decoder
        answer = reject(delivery, [index], charge.error, decoder, charge.evidence)
        if charge.model is not None:
            answer.failures[index] = answer.failures[index]._replace(model=charge.model, version=charge.version, batch_rows=1)
            first = not delivery.tries(index).kills  # one job that kills engines again and again says nothing of its model
            if self._breaker.failed(charge.model, 1, time.monotonic(), died=first):
                self._say_resting(charge.model)
        self._publish(delivery, answer, np.array([index], np.int64), killed=Killed.ENGINE)

    def condemn(self, delivery: Delivery, *, blind: bool) -> None:
        """The one job of ``delivery`` was run alone when its worker died: it gets another try later, or ends.

        ``blind``: without decoding it, for that may be what kills workers.
        """
        answer = reject(delivery, [0], _DANGEROUS, None if blind else self._decoder)
        self._publish(delivery, answer, np.zeros(1, np.int64), killed=Killed.WORKER)

    def _judge(self, answer: Answer, jobs: int) -> None:
        """Let the breaker know how a model does."""
        if answer.model is None:
            return
        failures = answer.failures.values()
        if jobs > len(failures):
            if self._breaker.succeeded(answer.model):
                self._log.info("a model gives results again", model=answer.model)
            return
        blamed = sum(failure.code in FAULTS for failure in failures)
        if blamed and self._breaker.failed(answer.model, blamed, time.monotonic()):
            self._say_resting(answer.model)

    def _say_resting(self, model: str) -> None:
        self._log.error("every job of a model fails; its jobs wait, at no attempt, until one succeeds", model=model)

    def _publish(
        self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64], *, killed: Killed = Killed.NOTHING
    ) -> None:
        retried = self._publisher.publish(delivery, answer, indices, killed=killed)
        codes = [failure.code for failure in answer.failures.values()] + ["deadline_exceeded"] * answer.expired
        self._metrics.answered(len(indices), codes, retried)
