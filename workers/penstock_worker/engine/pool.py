"""Owns a worker's engines and what waits for them: deliveries handed out, answers taken, the dead started again."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np
import structlog

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.backlog import Backlog
from penstock_worker.engine.death import Charge, Died, charge
from penstock_worker.engine.process import EngineProcess, Ready
from penstock_worker.engine.suspects import judge
from penstock_worker.engine.watch import private_bytes
from penstock_worker.engine.wire import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

    def blame(self, delivery: Delivery, index: int, charge: Charge) -> None:
        """Job ``index`` of ``delivery`` was the only suspect when its engine died. The pool does not try it again."""
        ...


class Pool:
    """The engines, one a device, and the backlog in front of them.

    A delivery that is isolated goes to an engine that holds nothing, and nothing else goes there until it is answered; then
    one of the others has its turn there, if any wait. What is announced runs while the pool is closed: nothing is with any
    engine beside it.
    """

    def __init__(
        self,
        settings: Settings,
        devices: list[str],
        settler: Settler,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._settler = settler
        self._metrics = metrics
        self._log = structlog.get_logger("penstock.engines")
        self._engines = [EngineProcess(settings, device, clock) for device in devices]
        self._fruitless = dict.fromkeys(self._engines, 0)
        self._told = dict[EngineProcess, str | None]()
        self._owing: set[EngineProcess] = set()
        """Engines that have had an isolated delivery, and none of the others since."""
        self._backlog = Backlog()
        self._closed = self._let_in = False
        """Whether it was closed, and nothing that waited meanwhile has been handed out since."""
        self._sequence = 0
        self.notice = Notice()
        """What engines are told with the next deliveries."""
        self.withheld = False
        """Whether nothing is handed out for now."""
        if settings.worker.engine_memory is not None and private_bytes(os.getpid()) is None:
            self._log.warning("this system does not tell what a process holds: worker.engine_memory is not enforced")

    @property
    def ready(self) -> bool:
        """Whether every engine has its models loaded and warm."""
        return all(engine.ready for engine in self._engines)

    @property
    def hungry(self) -> bool:
        """Whether more should be taken in: nothing waits, and some engine will soon have too little to do."""
        if self._closed or self.withheld or self._backlog.normal:
            return False
        reserved = self._next_to_isolate()
        return any(engine.hungry and engine is not reserved and not engine.alone for engine in self._engines)

    @property
    def busy(self) -> bool:
        """Whether anything waits for an engine or is with one."""
        return bool(self._backlog) or self.working

    @property
    def working(self) -> bool:
        """Whether anything is with an engine."""
        return any(engine.in_flight for engine in self._engines)

    @property
    def others_wait(self) -> bool:
        """Whether something waits that is not announced."""
        return bool(self._backlog.normal or self._backlog.isolated)

    def problem(self) -> str | None:
        """Why not every engine is ready, or None."""
        for engine in self._engines:
            if not engine.ready:
                return f"engine on {engine.device}: {engine.waiting or 'is starting'}"
        return None

    def add(self, delivery: Delivery) -> None:
        """Let a delivery wait for an engine."""
        self._backlog.add(delivery)

    def close(self) -> bool:
        """Hand out nothing but what is announced, from now on. Returns whether it is so, and no engine holds anything else.

        To be called until it is: what waited the last time has its turn first, and so has what is isolated already.
        """
        if not self._closed:
            self._closed = not (self._let_in and self.others_wait) and not any(engine.alone for engine in self._engines)
            if self._closed:
                self._backlog.calm()
        return self._closed and not self.working

    def let_in(self) -> None:
        """Hand out everything again."""
        self._closed, self._let_in = False, True

    def turn(self, timeout: float) -> None:
        """Hand out what there is room for, and listen up to ``timeout`` seconds. Raises :class:`WorkerFailedError`."""
        self._feed()
        self._listen(timeout)
        for engine in self._engines:
            engine.watch()
        if all(engine.stranded for engine in self._engines):
            raise WorkerFailedError(f"{self.problem()}; others may have it, and get this worker's partitions")

    def drop(self, partitions: set[TopicPartition]) -> int:
        """Let go of what waits and was read from ``partitions``: their next owner repeats it. Returns how many jobs."""
        return self._backlog.drop(partitions)

    def stop(self) -> None:
        """End every engine."""
        for engine in self._engines:
            engine.stop(timeout=2.0)

    def _feed(self) -> None:
        """Send what waits to the engine with the least to do, as long as one has room."""
        if self.withheld:
            return
        if self._closed:
            self._feed_announced()
            return
        self._backlog.calm()
        reserved = self._feed_isolated()
        while self._backlog.normal:
            with_room = [engine for engine in self._engines if engine.has_room and engine is not reserved and not engine.alone]
            if not with_room:
                return
            engine = min(with_room, key=lambda candidate: candidate.records)
            if self._send(engine, self._backlog.normal.popleft()):
                self._owing.discard(engine)
                reserved = self._feed_isolated()

    def _feed_announced(self) -> None:
        """Send what is announced, one delivery at a time in the whole pool."""
        ready = [engine for engine in self._engines if engine.ready]
        while ready and self._backlog.announced and not self.working:
            self._send(ready[0], self._backlog.announced.popleft())

    def _feed_isolated(self) -> EngineProcess | None:
        """Send what is isolated to engines that hold nothing. Returns the engine that is kept free for the next."""
        while (engine := self._next_to_isolate()) is not None:
            if engine.in_flight:
                return engine
            if self._send(engine, self._backlog.isolated.popleft()):
                self._owing.add(engine)
        return None

    def _next_to_isolate(self) -> EngineProcess | None:
        """The engine that gets the next isolated delivery, as soon as it holds nothing; None where there is none for now."""
        if not self._backlog.isolated:
            return None
        passed_over = self._owing if self._backlog.normal else set[EngineProcess]()
        free = [engine for engine in self._engines if engine.ready and not engine.alone and engine not in passed_over]
        return min(free, key=lambda candidate: candidate.records, default=None)

    def _send(self, engine: EngineProcess, delivery: Delivery) -> bool:
        """Send ``delivery``, unless it fits no slot."""
        if not engine.fits(delivery, self.notice):
            self._too_large(delivery)
            return False
        self._let_in = False
        self._sequence += 1
        delivery.sequence = self._sequence
        engine.send(delivery, self.notice._replace(blocked=frozenset()) if delivery.last_chance else self.notice)
        return True

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
        if isinstance(said, Ready):
            self._tell_ready(engine, said)
        elif said is not None:
            for answer in said.answers:
                self._settle(engine, answer)
            if said.figures is not None:
                self._metrics.batch(said.figures)
        self._tell_waiting(engine)
        return True

    def _settle(self, engine: EngineProcess, answer: Answer) -> None:
        delivery = engine.in_flight.get(answer.sequence)
        if delivery is None:
            return
        fresh = delivery.answer(np.frombuffer(answer.indices, np.int32).astype(np.int64))
        engine.answered(delivery, len(fresh))
        self._settler.settle(delivery, answer, fresh)

    def _restart(self, engine: EngineProcess, died: Died) -> None:
        """Replace a dead engine. Its jobs go on; one that alone can have killed it is blamed."""
        verdict = judge(died.unanswered, [] if died.running is None else died.running.jobs, died.decoding)
        self._fruitless[engine] = self._fruitless[engine] + 1 if died.fruitless and not verdict.suspects else 0
        self._metrics.restarts.inc()
        left = sum(delivery.left for delivery in died.unanswered)
        self._log.error(
            "engine died",
            device=engine.device,
            cause=str(died.cause),
            ending=died.ending,
            unanswered=left,
            suspects=verdict.suspects,
        )
        if self._fruitless[engine] >= _STARTS:
            message = f"the engine on {engine.device} did not stay up for {_STARTS} starts in a row"
            raise WorkerFailedError(f"{message} (the last one: {died.ending})")
        self._backlog.put_back(verdict.again)
        self._owing.discard(engine)
        if verdict.guilty is not None:
            delivery, index = verdict.guilty
            evidence = f"engine on {engine.device}, process {engine.pid}: {died.ending}; {len(delivery)} jobs in its delivery"
            self._settler.blame(delivery, index, charge(died, delivery.sequence, evidence))
        engine.start()

    def _too_large(self, delivery: Delivery) -> None:
        """A delivery is larger than a slot: one record of it, or its headers, pass what the topic should let through."""
        if len(delivery) > 1:
            middle = len(delivery) // 2
            self._backlog.put_back([delivery.part(range(middle)), delivery.part(range(middle, len(delivery)))])
            return
        limit = self._settings.topics.max_job_bytes
        message = f"the record takes {delivery.bytes} bytes besides its key and headers; the limit is {limit}"
        self._settler.end(delivery, [0], JobError(ErrorCode.TOO_LARGE, f"{message} (topics.max_job_bytes)"))

    def _tell_ready(self, engine: EngineProcess, ready: Ready) -> None:
        """Log and count how long a takeover took."""
        if ready.seconds is not None:
            self._metrics.takeovers.observe(ready.seconds)
            self._log.info("engine replaced", device=engine.device, seconds=round(ready.seconds, 2))

    def _tell_waiting(self, engine: EngineProcess) -> None:
        """Log why a declared model is waited for, once a reason."""
        if engine.waiting != self._told.get(engine):
            self._told[engine] = engine.waiting
            if engine.waiting is not None:
                reason = engine.waiting
                self._log.warning("a declared model is not there yet; its jobs wait", device=engine.device, reason=reason)
