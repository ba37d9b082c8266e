"""Owns a worker's engines and what waits for them: deliveries handed out, answers taken, the dead started again."""

from __future__ import annotations

from collections import deque
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np
import structlog

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.process import Died, EngineProcess
from penstock_worker.retry import again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from penstock_schemas.settings import Settings
    from penstock_worker.engine.wire import Answer
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import TopicPartition
    from penstock_worker.metrics import WorkerMetrics

_STARTS: Final = 5
"""So many starts in a row that came to nothing, and the engine is not going to stay up."""


class WorkerFailedError(Exception):
    """The worker cannot go on; its offsets stay uncommitted and another takes over. The message says why."""


class Settler(Protocol):
    """Who takes what came of jobs."""

    def settle(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        """Jobs ``indices`` of ``delivery`` are answered, for the first time."""
        ...

    def end(self, delivery: Delivery, indices: Sequence[int], error: JobError) -> None:
        """Jobs ``indices`` of ``delivery`` are to end with ``error``: no engine will answer them."""
        ...


class Pool:
    """The engines, one a device, and the backlog in front of them."""

    def __init__(self, settings: Settings, devices: list[str], settler: Settler, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._settler = settler
        self._metrics = metrics
        self._log = structlog.get_logger("penstock.engines")
        self._engines = [EngineProcess(settings, device) for device in devices]
        self._starts = [1] * len(devices)
        self._told: list[str | None] = [None] * len(devices)
        self._backlog: deque[Delivery] = deque()
        self._sequence = 0

    @property
    def ready(self) -> bool:
        """Whether every engine has its models loaded and warm."""
        return all(engine.ready for engine in self._engines)

    @property
    def hungry(self) -> bool:
        """Whether more should be taken in: nothing waits, and some engine will soon have too little to do."""
        return not self._backlog and any(engine.hungry for engine in self._engines)

    @property
    def busy(self) -> bool:
        """Whether anything waits for an engine or is with one."""
        return bool(self._backlog) or any(engine.records for engine in self._engines)

    def problem(self) -> str | None:
        """Why not every engine is ready, or None."""
        for engine in self._engines:
            if not engine.ready:
                return f"engine on {engine.device}: {engine.waiting or 'is starting'}"
        return None

    def add(self, delivery: Delivery) -> None:
        """Let a delivery wait for an engine."""
        self._backlog.append(delivery)

    def turn(self, timeout: float) -> None:
        """Hand out what there is room for, and listen up to ``timeout`` seconds. Raises :class:`WorkerFailedError`."""
        self._feed()
        self._listen(timeout)

    def drop(self, partitions: set[TopicPartition]) -> int:
        """Let go of what waits for an engine and belongs to ``partitions``: their next owner repeats it. Returns how many."""
        kept: deque[Delivery] = deque()
        before = sum(map(len, self._backlog))
        for delivery in self._backlog:
            stay = [i for i, p in enumerate(delivery.partitions.tolist()) if (delivery.topic, p) not in partitions]
            if len(stay) == len(delivery):
                kept.append(delivery)
            elif stay:
                kept.append(delivery.part(stay, attempt=delivery.attempt, solo=delivery.solo))
        self._backlog = kept
        return before - sum(map(len, kept))

    def stop(self) -> None:
        """End every engine; what they hold is another worker's."""
        for engine in self._engines:
            engine.stop(timeout=2.0)

    def _feed(self) -> None:
        """Send what waits to the engine with the least to do, as long as one has room."""
        while self._backlog:
            ready = [engine for engine in self._engines if engine.has_room]
            if not ready:
                return
            engine = min(ready, key=lambda candidate: candidate.records)
            delivery = self._backlog.popleft()
            if not engine.fits(delivery):
                self._too_large(delivery)
                continue
            self._sequence += 1
            delivery.sequence = self._sequence
            engine.send(delivery)

    def _listen(self, timeout: float) -> None:
        """Read what the engines say, waiting up to ``timeout`` seconds for the first of it."""
        engines = {engine.pipe: engine for engine in self._engines}
        heard = wait(list(engines), timeout)
        while heard:
            for pipe in heard:
                if not self._hear(engines[cast("Connection", pipe)]):
                    return  # that pipe is closed: the new one's turn comes next time
            heard = wait(list(engines), 0)

    def _hear(self, engine: EngineProcess) -> bool:
        """Read one thing that ``engine`` says. False: it has died."""
        said = engine.receive()
        if isinstance(said, Died):
            self._restart(engine, said)
            return False
        if said is not None:
            answers, figures = said
            for answer in answers:
                self._settle(engine, answer)
            if figures is not None:
                self._metrics.batch(figures)
        self._tell_waiting(engine)
        return True

    def _settle(self, engine: EngineProcess, answer: Answer) -> None:
        delivery = engine.in_flight.get(answer.sequence)
        if delivery is None:
            return
        self._starts[self._engines.index(engine)] = 0
        fresh = delivery.answer(np.frombuffer(answer.indices, np.int32).astype(np.int64))
        engine.answered(delivery, len(fresh))
        self._settler.settle(delivery, answer, fresh)

    def _restart(self, engine: EngineProcess, died: Died) -> None:
        """Start a dead engine again; its jobs are tried again, the suspects by themselves, until they have had their tries."""
        place = self._engines.index(engine)
        # An engine that held jobs had warmed up: its death is those jobs' affair, and they have their number of tries.
        self._starts[place] = 1 if died.suspects or died.unanswered else self._starts[place] + 1
        self._metrics.restarts.inc()
        unanswered = sum(delivery.left for delivery in died.unanswered)
        suspects = sum(len(indices) for _, indices in died.suspects)
        self._log.error("engine died", device=engine.device, status=died.status, unanswered=unanswered, suspects=suspects)
        if self._starts[place] > _STARTS:
            message = f"the engine on {engine.device} did not stay up for {_STARTS} starts in a row"
            raise WorkerFailedError(f"{message} (last status {died.status})")
        retried, ended = again(died.unanswered, dict(died.suspects))
        for delivery, indices in ended:
            times = f"{delivery.attempt} times (last status {died.status})"
            message = f"the engine died while it ran this job, {times}: it is not tried again"
            self._settler.end(delivery, indices, JobError(ErrorCode.ENGINE_CRASH, message))
        self._backlog.extendleft(reversed(retried))
        engine.start()

    def _too_large(self, delivery: Delivery) -> None:
        """A delivery is larger than a slot: one record of it, or its headers, pass what the topic should let through."""
        if len(delivery) > 1:
            middle = len(delivery) // 2
            for part in (range(middle, len(delivery)), range(middle)):
                self._backlog.appendleft(delivery.part(part, attempt=delivery.attempt, solo=delivery.solo))
            return
        limit = self._settings.topics.max_job_bytes
        message = f"the record takes {delivery.bytes} bytes besides its key and headers; the limit is {limit}"
        self._settler.end(delivery, [0], JobError(ErrorCode.TOO_LARGE, f"{message} (topics.max_job_bytes)"))

    def _tell_waiting(self, engine: EngineProcess) -> None:
        """Log why a declared model is waited for, once a reason."""
        place = self._engines.index(engine)
        if engine.waiting != self._told[place]:
            self._told[place] = engine.waiting
            if engine.waiting is not None:
                reason = engine.waiting
                self._log.warning("a declared model is not there yet; its jobs wait", device=engine.device, reason=reason)
