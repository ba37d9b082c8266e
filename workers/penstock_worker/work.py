"""Owns the work role's one thread: it carries deliveries from intake to the engines, and answers from there to settle.

It blocks on Kafka while nothing is in flight and on the engines otherwise, and it polls both all the time, whatever either
does: a slow model never costs the worker its place in the group.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from penstock_schemas.jobs import JobDecoder
from penstock_worker.engine.pool import Pool, WorkerFailedError
from penstock_worker.intake.consumer import Gap, Intake
from penstock_worker.intake.cut import cut
from penstock_worker.intake.delivery import Delivery, runs
from penstock_worker.intake.ledger import Ledger, TopicPartition
from penstock_worker.limits import limits_of
from penstock_worker.settle.publisher import Publisher
from penstock_worker.settle.reject import reject
from penstock_worker.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confluent_kafka import Message
    from numpy.typing import NDArray

    from penstock_schemas.errors import JobError
    from penstock_schemas.settings import Settings
    from penstock_worker.engine.wire import Answer
    from penstock_worker.metrics import WorkerMetrics

_IDLE_POLL: Final = 0.1
_BUSY_WAIT: Final = 0.005
_FULL_WAIT: Final = 0.05
_PAUSE_AFTER: Final = 0.5
"""Pausing throws away what is prefetched, so it is worth it only when the engines stay full this long."""
_COMMIT_EVERY: Final = 0.25
_LONGEST_SILENCE: Final = 60.0


class Worker:
    """One worker: a ledger, an intake, a pool of engines, a publisher."""

    def __init__(self, settings: Settings, devices: list[str], worker_id: str, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = structlog.get_logger("penstock.worker")
        self._ledger = Ledger()
        self._decoder = JobDecoder(limits_of(settings))
        self._publisher = Publisher(settings, worker_id)
        self._intake = Intake(settings, self)
        self._pool = Pool(settings, devices, self, metrics)
        self._summary = Summary(metrics, time.monotonic)
        self._full_since: float | None = None
        self._commit_due = 0.0
        self._turned_at = time.monotonic()
        self._draining = False
        self._ends_at = math.inf
        """When a drain must be over, in monotonic seconds."""

    # What the probes ask; from another thread, so they only read.

    def live(self) -> str | None:
        """What is wrong where the loop has stopped coming round, or None."""
        silent = time.monotonic() - self._turned_at
        return None if silent < _LONGEST_SILENCE else f"the worker's loop has not come round for {silent:.0f} s"

    def ready(self) -> str | None:
        """Why this worker would not take and finish a job now, or None."""
        if self._draining:
            return "draining"
        if (problem := self._pool.problem()) is not None:
            return problem
        if not self._intake.joined:
            return "has not joined the consumer group yet"
        if self._publisher.full:
            return "Kafka takes no outcomes for now"
        return "no Kafka broker can be reached" if self._intake.down else None

    def run(self, stopping: Callable[[], bool], all_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Work until ``stopping``; then drain, commit and leave.

        ``all_ready`` is asked in every turn, and ``on_ready`` called once it has said yes. Raises
        :class:`WorkerFailedError`.
        """
        try:
            while not self._pool.ready:  # no partition is taken before every model is warm
                if stopping():
                    return
                all_ready()
                self._turn(_IDLE_POLL)
            self._intake.subscribe()
            told = False
            while not stopping():
                self._step()
                if all_ready() and not told:
                    told = True
                    on_ready()
            self._drain()
        finally:
            self._pool.stop()

    # The intake's owner.

    def assigned(self, partitions: Mapping[TopicPartition, int | None], gaps: list[Gap]) -> None:
        """Begin an epoch of each partition; record what was deleted before anyone read it."""
        for partition, first in partitions.items():
            self._ledger.assign(partition, first)
        for partition, first, last in gaps:
            self._gap(partition, first, last)

    def revoking(self, partitions: list[TopicPartition]) -> None:
        """Settle what can be within the grace, commit it, and forget the rest: the next owner repeats that."""
        mine = set(partitions)
        dropped = self._pool.drop(mine)  # these are never settled here: waiting for them would use up all of the grace
        deadline = min(time.monotonic() + self._settings.worker.revoke_grace, self._ends_at)
        while self._ledger.unsettled(mine) > dropped and time.monotonic() < deadline:
            self._turn(_BUSY_WAIT)
        self._intake.commit(self._ledger.committable(), wait=True)
        for partition in partitions:
            self._ledger.revoke(partition)

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Forget them: what is with an engine is published all the same, and never committed."""
        self._pool.drop(set(partitions))
        for partition in partitions:
            self._ledger.revoke(partition)

    # The pool's settler.

    def settle(self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64]) -> None:
        """Publish what an engine answered."""
        self._publisher.publish(delivery, answer, indices)
        self._metrics.answered(
            len(indices), [failure.code for failure in answer.failures.values()] + ["deadline_exceeded"] * answer.expired
        )

    def end(self, delivery: Delivery, indices: Sequence[int], error: JobError) -> None:
        """Publish the end of jobs that no engine answers."""
        self.settle(delivery, reject(delivery, indices, error, self._decoder), np.array(indices, np.int64))

    # One turn of the loop, from Kafka to Kafka.

    def _step(self) -> None:
        """Take in what there is room for, hand it on, take answers, settle, commit."""
        room = self._pool.hungry and not self._publisher.full
        if room:
            self._full_since = None
            self._intake.resume()
            idle = not self._pool.busy and not self._publisher.unconfirmed
            self._take(self._intake.poll(_IDLE_POLL if idle else 0, self._settings.worker.delivery_records))
            if not self._pool.busy and self._publisher.unconfirmed:
                self._publisher.wait(_BUSY_WAIT)  # nothing else to do: no outcome lingers for company
        else:
            self._poll_full()
        self._turn(_FULL_WAIT if not room else _BUSY_WAIT if self._pool.busy else 0.0)
        self._commit()
        if self._summary.due:
            self._summary.say(
                lag=self._intake.lag(self._ledger.positions()),
                in_flight=self._ledger.unsettled(),
                partitions=len(self._ledger.assigned()),
            )

    def _poll_full(self) -> None:
        """Polling never stops: when full for a while, pause what is assigned and poll on."""
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= _PAUSE_AFTER:
            self._intake.pause()
            self._take(self._intake.poll(0, 1))

    def _turn(self, timeout: float) -> None:
        """Hand on, listen up to ``timeout`` seconds, publish: the part of a step that takes nothing in."""
        self._turned_at = time.monotonic()
        if self._publisher.full:  # what the engines answer would pile up here: they wait, too, and all before them
            self._publisher.wait(timeout)
        else:
            self._pool.turn(timeout)
            self._publisher.poll()
        if self._publisher.fatal is not None:
            raise WorkerFailedError(f"the Kafka producer can publish nothing more: {self._publisher.fatal}")
        if self._intake.fatal is not None:
            raise WorkerFailedError(f"the Kafka consumer can read nothing more: {self._intake.fatal}")

    def _take(self, messages: list[Message]) -> None:
        """Enter messages in the ledger, run by run, and let them wait for an engine."""
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
                lengths = [end - begin for begin, end in stretches]
                delivery.which = np.repeat(np.arange(len(stretches), dtype=np.int32), lengths)
            self._pool.add(delivery)

    def _commit(self) -> None:
        now = time.monotonic()
        if now >= self._commit_due:
            self._commit_due = now + _COMMIT_EVERY
            if self._intake.commit_failed:
                self._intake.commit_failed = False
                self._ledger.recommit()
            self._intake.commit(self._ledger.committable())

    def _gap(self, partition: TopicPartition, first: int, last: int) -> None:
        """Count, alarm and record a range that retention deleted unread; the position waits for the letter."""
        self._metrics.gaps.inc(last - first + 1)
        self._log.error(
            "jobs were deleted unread by retention", topic=partition[0], partition=partition[1], first=first, last=last
        )
        self._publisher.gap(partition, first, last, self._ledger.open(partition, last, 1))

    def _drain(self) -> None:
        """Stop taking, finish what is in flight within the grace, settle, commit, leave the group."""
        self._draining = True
        grace = self._settings.worker.shutdown_grace
        self._log.info("draining", in_flight=self._ledger.unsettled(), grace_s=grace)
        deadline = self._ends_at = time.monotonic() + grace
        self._intake.pause()
        while (self._ledger.unsettled() or self._publisher.unconfirmed) and time.monotonic() < deadline:
            self._take(self._intake.poll(0, 1))
            self._turn(_BUSY_WAIT)
            self._commit()
        self._commit_last(deadline)
        left = self._ledger.unsettled()
        self._intake.close()
        self._publisher.close(max(0.0, min(5.0, deadline - time.monotonic())))
        self._log.info("stopped", unsettled=left)

    def _commit_last(self, deadline: float) -> None:
        """Commit all that is settled: what is refused because the group rebalances is taken after that."""
        while True:
            self._intake.commit_failed = False
            self._ledger.recommit()
            self._intake.commit(self._ledger.committable(), wait=True)
            if not self._intake.commit_failed or time.monotonic() >= deadline:
                return
            self._take(self._intake.poll(_IDLE_POLL, 1))
