"""Owns the work role's one thread: it carries deliveries from intake to the engines, and answers from there to settle.

It blocks on Kafka while nothing is in flight and on the engines otherwise, and it polls both all the time, whatever either
does: a slow model never costs the worker its place in the group.
"""

from __future__ import annotations

import time
from collections import deque
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import JobDecoder
from penstock_worker.engine.process import Died, EngineProcess
from penstock_worker.engine.wire import Answer
from penstock_worker.intake.consumer import Gap, Intake
from penstock_worker.intake.cut import cut
from penstock_worker.intake.delivery import Delivery, runs
from penstock_worker.intake.ledger import Ledger, TopicPartition
from penstock_worker.limits import limits_of
from penstock_worker.retry import again
from penstock_worker.settle.publisher import Publisher
from penstock_worker.settle.reject import reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from penstock_schemas.settings import Settings
    from penstock_worker.metrics import WorkerMetrics

_IDLE_POLL: Final = 0.1
_BUSY_WAIT: Final = 0.005
_FULL_WAIT: Final = 0.05
_PAUSE_AFTER: Final = 0.5
"""Pausing throws away what is prefetched, so it is worth it only when the engines stay full this long."""
_COMMIT_EVERY: Final = 0.25
_SUMMARY_EVERY: Final = 10.0
_LONGEST_GAP: Final = 60.0
_STARTS: Final = 5
"""So many starts in a row without one answer, and the engine is not going to stay up."""


class WorkerFailedError(Exception):
    """The worker cannot go on; its offsets stay uncommitted and another takes over. The message says why."""


class Worker:
    """One worker: a ledger, an intake, engines, a publisher."""

    def __init__(self, settings: Settings, devices: list[str], worker_id: str, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = structlog.get_logger("penstock.worker")
        self._ledger = Ledger()
        self._decoder = JobDecoder(limits_of(settings))
        self._publisher = Publisher(settings, worker_id)
        self._intake = Intake(settings, self)
        self._engines = [EngineProcess(settings, device) for device in devices]
        self._starts = dict.fromkeys(range(len(devices)), 1)
        self._backlog: deque[Delivery] = deque()
        self._sequence = 0
        self._full_since: float | None = None
        self._commit_due = self._summary_due = 0.0
        self._summarised = dict(metrics.totals)
        self._beat = time.monotonic()
        self._draining = False
        self._waiting: dict[str, str | None] = {}

    # What the probes ask; from another thread, so they only read.

    def live(self) -> str | None:
        silent = time.monotonic() - self._beat
        return None if silent < _LONGEST_GAP else f"the worker's loop has not come round for {silent:.0f} s"

    def ready(self) -> str | None:
        if self._draining:
            return "draining"
        for engine in self._engines:
            if not engine.ready:
                return f"engine on {engine.device}: {engine.waiting or 'is starting'}"
        if not self._intake.joined:
            return "has not joined the consumer group yet"
        return "no Kafka broker can be reached" if self._intake.down else None

    def run(self, stopping: Callable[[], bool], all_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Work until ``stopping``; then drain, commit and leave.

        ``all_ready`` is asked in every turn, and ``on_ready`` called once it has said yes. Raises
        :class:`WorkerFailedError`.
        """
        try:
            while not all(engine.ready for engine in self._engines):
                if stopping():
                    return
                all_ready()
                self._tell_waiting()
                self._listen(_IDLE_POLL)
            self._intake.subscribe()
            told = False
            while not stopping():
                self._step()
                if all_ready() and not told:
                    told = True
                    on_ready()
            self._drain()
        finally:
            for engine in self._engines:
                engine.stop(timeout=2.0)

    # Owner of the intake's partitions.

    def assigned(self, partitions: list[TopicPartition], gaps: list[Gap]) -> None:
        for partition in partitions:
            self._ledger.assign(partition)
        for partition, first, last in gaps:
            self._gap(partition, first, last)

    def revoking(self, partitions: list[TopicPartition]) -> None:
        mine = set(partitions)
        self._drop(mine)
        deadline = time.monotonic() + self._settings.worker.revoke_grace
        while self._ledger.unsettled(mine) and time.monotonic() < deadline:
            self._turn(_BUSY_WAIT)
        self._intake.commit(self._ledger.committable(), wait=True)
        for partition in partitions:
            self._ledger.revoke(partition)

    def lost(self, partitions: list[TopicPartition]) -> None:
        self._drop(set(partitions))
        for partition in partitions:
            self._ledger.revoke(partition)

    # One turn of the loop, from Kafka to Kafka.

    def _step(self) -> None:
        """Take in what there is room for, hand it on, take answers, settle, commit."""
        room = not self._backlog and any(engine.has_room for engine in self._engines)
        busy = any(engine.records for engine in self._engines)
        if room:
            self._full_since = None
            self._intake.resume()
            # A letter's confirmation sends its job's outcome on its way, so that is waited for in short steps.
            timeout = 0 if busy else _BUSY_WAIT if self._publisher.unconfirmed else _IDLE_POLL
            self._take(self._intake.poll(timeout, self._settings.worker.delivery_records))
        else:
            self._poll_full()
        if self._backlog or any(engine.records for engine in self._engines):
            self._turn(_BUSY_WAIT if room else _FULL_WAIT)
        else:
            self._turn(0)
        self._commit()
        self._summarise()

    def _poll_full(self) -> None:
        """Polling never stops: when full for a while, pause what is assigned and poll on."""
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= _PAUSE_AFTER:
            self._intake.pause()
            self._take(self._intake.poll(0, 1))

    def _turn(self, timeout: float) -> None:
        """Hand on, listen up to ``timeout`` seconds, publish; the part of a step that does not take anything in."""
        self._beat = time.monotonic()
        self._feed()
        self._listen(timeout)
        self._publisher.poll()
        if self._publisher.fatal is not None:
            raise WorkerFailedError(f"the Kafka producer can publish nothing more: {self._publisher.fatal}")

    def _take(self, messages: list[Message]) -> None:
        if not messages:
            return
        for delivery in cut(messages, self._intake.topics, self._settings.worker.delivery_bytes):
            stretches = runs(delivery.partitions)
            for begin, end in stretches:
                partition = (delivery.topic, int(delivery.partitions[begin]))
                missing = self._ledger.skipped(partition, int(delivery.offsets[begin]))
                if missing is not None and (self._intake.low_watermark(partition) or 0) > missing[0]:
                    self._gap(partition, *missing)
                delivery.entries.append(self._ledger.open(partition, int(delivery.offsets[end - 1]), end - begin))
            if len(stretches) > 1:
                delivery.which = np.repeat(np.arange(len(stretches), dtype=np.int32), [end - begin for begin, end in stretches])
            self._backlog.append(delivery)

    def _feed(self) -> None:
        """Send what waits to the engine with the least to do, as long as one has room."""
        while self._backlog:
            open_engines = [engine for engine in self._engines if engine.has_room]
            if not open_engines:
                return
            engine = min(open_engines, key=lambda e: e.records)
            delivery = self._backlog.popleft()
            if not engine.fits(delivery):
                self._too_large(delivery)
                continue
            self._sequence += 1
            delivery.sequence = self._sequence
            engine.send(delivery)

    def _listen(self, timeout: float) -> None:
        """Read what the engines say, waiting up to ``timeout`` seconds for the first of it."""
        pipes = {engine.pipe: engine for engine in self._engines}
        heard = wait(list(pipes), timeout)
        while heard:
            for pipe in heard:
                said = pipes[pipe].receive()  # type: ignore[index]  # wait() gives back what it was given
                if isinstance(said, Died):
                    self._engine_died(pipes[pipe], said)  # type: ignore[index]
                    return
                if said is not None:
                    answers, figures = said
                    for answer in answers:
                        self._settle(pipes[pipe], answer)  # type: ignore[index]
                    if figures is not None:
                        self._metrics.batch(figures)
            heard = wait(list(pipes), 0)

    def _settle(self, engine: EngineProcess, answer: Answer) -> None:
        delivery = engine.in_flight.get(answer.sequence)
        if delivery is None:
            return
        self._starts[self._engines.index(engine)] = 0
        fresh = delivery.answer(np.frombuffer(answer.indices, np.int32).astype(np.int64))
        engine.answered(delivery, len(fresh))
        self._publisher.publish(delivery, answer, fresh)
        self._metrics.answered(len(fresh), [code for code, _, _ in answer.failures.values()])

    def _end(self, delivery: Delivery, indices: list[int], error: JobError) -> None:
        """End jobs without an engine."""
        answer = reject(delivery, indices, error, self._decoder)
        self._publisher.publish(delivery, answer, np.array(indices, np.int64))
        self._metrics.answered(len(indices), [code for code, _, _ in answer.failures.values()])

    def _commit(self) -> None:
        now = time.monotonic()
        if now >= self._commit_due:
            self._commit_due = now + _COMMIT_EVERY
            if self._intake.commit_failed:
                self._intake.commit_failed = False
                self._ledger.recommit()
            self._intake.commit(self._ledger.committable())

    # What goes wrong.

    def _engine_died(self, engine: EngineProcess, died: Died) -> None:
        """Start the engine again; its jobs are tried again, the suspects by themselves, until they have had their tries."""
        place = self._engines.index(engine)
        self._starts[place] += 1
        self._metrics.restarts.inc()
        suspects = sum(len(indices) for _, indices in died.suspects)
        self._log.error(
            "engine died",
            device=engine.device,
            status=died.status,
            unanswered=sum(d.left for d in died.unanswered),
            suspects=suspects,
        )
        if self._starts[place] > _STARTS:
            raise WorkerFailedError(
                f"the engine on {engine.device} did not stay up for {_STARTS} starts in a row (last status {died.status})"
            )
        retried, ended = again(died.unanswered, dict(died.suspects))
        for delivery, indices in ended:
            times = f"{delivery.attempt} times (last status {died.status})"
            message = f"the engine died while it ran this job, {times}: it is not tried again"
            self._end(delivery, indices, JobError(ErrorCode.ENGINE_CRASH, message))
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
        message = (
            f"the record takes {delivery.bytes} bytes besides its key and headers; the limit is {limit} (topics.max_job_bytes)"
        )
        self._end(delivery, [0], JobError(ErrorCode.TOO_LARGE, message))

    def _gap(self, partition: TopicPartition, first: int, last: int) -> None:
        self._metrics.gaps.inc(last - first + 1)
        self._log.error(
            "jobs were deleted unread by retention", topic=partition[0], partition=partition[1], first=first, last=last
        )
        self._publisher.gap(partition, first, last, self._ledger.open(partition, last, 1))

    def _drop(self, partitions: set[TopicPartition]) -> None:
        """Let go of what waits for an engine and belongs to ``partitions``: the next owner repeats it."""
        kept: deque[Delivery] = deque()
        for delivery in self._backlog:
            stay = [i for i, p in enumerate(delivery.partitions.tolist()) if (delivery.topic, p) not in partitions]
            if len(stay) == len(delivery):
                kept.append(delivery)
            elif stay:
                kept.append(delivery.part(stay, attempt=delivery.attempt, solo=delivery.solo))
        self._backlog = kept

    def _drain(self) -> None:
        """Stop taking, finish what is in flight within the grace, settle, commit, leave the group."""
        self._draining = True
        grace = self._settings.worker.shutdown_grace
        self._log.info("draining", in_flight=self._ledger.unsettled(), grace_s=grace)
        deadline = time.monotonic() + grace
        self._intake.pause()
        while (self._ledger.unsettled() or self._publisher.unconfirmed) and time.monotonic() < deadline:
            self._take(self._intake.poll(0, 1))
            self._turn(_BUSY_WAIT)
            self._commit()
        self._intake.commit(self._ledger.committable(), wait=True)
        left = self._ledger.unsettled()
        self._intake.close()
        self._publisher.close(max(0.0, min(5.0, deadline - time.monotonic())))
        self._log.info("stopped", unsettled=left)

    def _tell_waiting(self) -> None:
        """Log why a declared model is waited for, once a reason."""
        for engine in self._engines:
            if engine.waiting != self._waiting.get(engine.device):
                self._waiting[engine.device] = engine.waiting
                if engine.waiting is not None:
                    self._log.warning(
                        "a declared model is not there yet; its jobs wait", device=engine.device, reason=engine.waiting
                    )

    def _summarise(self) -> None:
        """A line every ten seconds under load: what one wants to see at 3 a.m."""
        now = time.monotonic()
        if now < self._summary_due:
            return
        totals = dict(self._metrics.totals)
        since = {key: totals[key] - self._summarised[key] for key in totals}
        unsettled = self._ledger.unsettled()
        self._metrics.in_flight.set(unsettled)
        self._metrics.partitions.set(len(self._ledger.assigned()))
        if since["jobs"] and self._summary_due:
            self._log.info(
                "summary",
                jobs_per_s=round(since["jobs"] / _SUMMARY_EVERY, 1),
                rows_per_batch=round(since["rows"] / max(1, since["batches"]), 1),
                lag=self._intake.lag(self._ledger.positions()),
                in_flight=unsettled,
                failed=since["failed"],
            )
        self._summarised = totals
        self._summary_due = now + _SUMMARY_EVERY
