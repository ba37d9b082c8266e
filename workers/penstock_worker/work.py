"""Owns the work role's one thread: it carries deliveries from intake to the engines, and answers from there to settle.

It blocks on Kafka while nothing is in flight and on the engines otherwise, and it polls both all the time, whatever either
does: a slow model never costs the worker its place in the group.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import structlog

from penstock_worker.caution import Caution
from penstock_worker.clearing import Clearing
from penstock_worker.engine.pool import Pool, WorkerFailedError
from penstock_worker.engine.wire import Notice
from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.consumer import Fetched, Intake
from penstock_worker.intake.ledger import Ledger, Mark, TopicPartition
from penstock_worker.intake.taking import Limits, Taking
from penstock_worker.readiness import why_not_ready
from penstock_worker.settle.breaker import Breaker
from penstock_worker.settle.outbox import Outbox
from penstock_worker.settle.publisher import Publisher
from penstock_worker.settle.settler import Settler
from penstock_worker.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock_schemas.settings import Settings
    from penstock_worker.intake.placing import Start
    from penstock_worker.metrics import WorkerMetrics
    from penstock_worker.topics import TopicWatch

_IDLE_POLL: Final = 0.1
_BUSY_WAIT: Final = 0.005
_FULL_WAIT: Final = 0.05
_PAUSE_AFTER: Final = 0.5
"""Pausing throws away what is prefetched, so it is worth it only when the engines stay full this long."""
_COMMIT_EVERY: Final = 0.25
_INTRODUCTION: Final = 2.0
"""So long, in seconds, the first jobs of partitions wait for Kafka to know who has them; it may be away."""
_LONGEST_SILENCE: Final = 60.0


class Worker:
    """One worker: a ledger, an intake, a pool of engines, a publisher."""

    def __init__(
        self, settings: Settings, devices: list[str], worker_id: str, metrics: WorkerMetrics, topics: TopicWatch
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = structlog.get_logger("penstock.worker")
        self._ledger = Ledger()
        self._clock = BrokerClock()
        self._breaker = Breaker(settings.retry.breaker_failures, settings.retry.breaker_seconds)
        self._outbox = Outbox(settings)
        self._publisher = Publisher(settings, worker_id, self._outbox, self._breaker, self._clock.now_ms)
        self._topics = topics
        self._intake = Intake(settings, self, self._clock, worker_id, lambda: topics.ids)
        settler = Settler(settings, self._publisher, self._breaker, metrics)
        self._pool = Pool(settings, devices, settler, metrics)
        self._clearing = Clearing(self._pool, self._ledger, self._intake)
        self._caution = Caution(self._clearing, settler, settings.worker.delivery_records, settings.worker.delivery_bytes)
        limits = Limits(self._intake.topics, settings.worker.delivery_bytes, settings.retry.breaker_grace)
        self._taking = Taking(limits, self._ledger, self._caution, self._missing)
        self._summary = Summary(metrics, time.monotonic)
        self._full_since: float | None = None
        self._spare = 0
        """So many records may still be taken in while there is no room, and answers are polled for."""
        self._commit_due = 0.0
        self._came = False
        """Whether partitions came of which nothing was taken yet."""
        self._introduced: list[TopicPartition] = []
        """Partitions of which Kafka may not know yet that they are ours: until it does, no engine is given anything."""
        self._introduced_by = 0.0
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
        return why_not_ready(self._pool, self._intake, self._outbox, self._breaker, self._topics)

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

    def assigned(self, partitions: Mapping[TopicPartition, Start]) -> None:
        """Begin an epoch of each partition; record what was deleted before anyone read it."""
        self._came = True
        for partition, start in partitions.items():
            left = start.left
            self._ledger.assign(partition, start.offset, left.takeovers, left.taken if left.alone else None)
            if start.gap is not None:
                self._gap(partition, *start.gap, "retention deleted them before a worker came to them")
            if self._caution.assigned(partition, start):
                self._log.error(
                    "owners of a partition ended without a word over what is at one offset; it is run job by job",
                    topic=partition[0],
                    partition=partition[1],
                    offset=start.offset,
                    owners=start.left.takeovers,
                )

    def revoking(self, partitions: list[TopicPartition]) -> None:
        """Settle what can be within the grace, commit it, and forget the rest: the next owner repeats that."""
        mine = set(partitions)
        # These are never settled here: waiting for them would use up all of the grace.
        dropped = self._pool.drop(mine) + self._caution.drop(mine)
        deadline = min(time.monotonic() + self._settings.worker.revoke_grace, self._ends_at)
        while self._ledger.unsettled(mine) > dropped and time.monotonic() < deadline:
            self._turn(_BUSY_WAIT)
        self._intake.commit(self._ledger.marks(partitions), last=True)
        for partition in partitions:
            self._ledger.revoke(partition)

    def lost(self, partitions: list[TopicPartition]) -> None:
        """Forget them: what is with an engine is published all the same, and never committed."""
        self._pool.drop(set(partitions))
        self._caution.drop(set(partitions))
        for partition in partitions:
            self._ledger.revoke(partition)

    # One turn of the loop, from Kafka to Kafka.

    def _step(self) -> None:
        """Take in what there is room for, hand it on, take answers, settle, commit."""
        room = self._pool.hungry and not self._outbox.full
        if room:
            self._full_since, self._spare = None, self._settings.worker.delivery_records
            self._intake.resume()
            idle = not self._pool.busy and not self._outbox.unconfirmed and not self._caution.busy
            self._take(self._intake.poll(_IDLE_POLL if idle else 0, self._settings.worker.delivery_records))
        else:
            self._poll_full()
        if not self._pool.working and self._outbox.unconfirmed and not self._outbox.full:
            self._outbox.wait(_BUSY_WAIT)  # nothing else to do: no outcome lingers for company
        wait = _BUSY_WAIT if room or self._asking else _FULL_WAIT
        self._turn(wait if not room or self._pool.busy or self._caution.busy else 0.0)
        if time.monotonic() >= self._commit_due:
            self._intake.heed_topics()
            for partition, offset in self._intake.reached(self._ledger.idle()).items():
                self._ledger.pass_over(partition, offset)
            self._commit()
        if self._summary.due:
            self._summary.say(
                lag=self._intake.lag(self._ledger.positions()),
                in_flight=self._ledger.unsettled(),
                partitions=sum(topic in self._intake.topics for topic, _ in self._ledger.assigned()),
            )

    def _poll_full(self) -> None:
        """Polling never stops: when full for a while, pause what is assigned and poll on. Answers are polled for at once."""
        now = time.monotonic()
        if self._full_since is None:
            self._full_since = now
        if now - self._full_since >= _PAUSE_AFTER or (self._asking and self._spare <= 0):
            self._intake.pause()
            self._take(self._intake.poll(0, 1))
        elif self._asking:
            fetched = self._intake.poll(0, self._spare)
            self._spare -= len(fetched.jobs) + len(fetched.retries)
            self._take(fetched)

    def _turn(self, timeout: float) -> None:
        """Hand on, listen up to ``timeout`` seconds, publish: the part of a step that takes nothing in."""
        now = self._turned_at = time.monotonic()
        if self._outbox.full:  # what the engines answer would pile up here: they wait, too, and all before them
            self._outbox.wait(timeout)
        else:
            self._pool.notice = Notice(self._breaker.blocked(now), self._clock.ahead_ms())
            self._caution.turn()
            self._pool.withheld = self._introducing(now)
            self._pool.turn(timeout)
            self._outbox.poll()
        if self._intake.needs_time:
            self._clock.asking()
            self._publisher.probe(self._clock.told)
        if self._outbox.fatal is not None:
            raise WorkerFailedError(f"the Kafka producer can publish nothing more: {self._outbox.fatal}")
        if self._intake.health.fatal is not None:
            raise WorkerFailedError(f"the Kafka consumer can read nothing more: {self._intake.health.fatal}")

    def _take(self, fetched: Fetched) -> None:
        """Enter what was fetched in the ledger, and let it wait for an engine."""
        for delivery in self._taking.take(fetched):
            self._pool.add(delivery)
        if self._came and (fetched.jobs or fetched.retries):
            # If these are the end of us, who comes next should know that we were here.
            self._came = False
            self._commit(now=True)
            self._introduced, self._introduced_by = self._ledger.assigned(), time.monotonic() + _INTRODUCTION

    @property
    def _asking(self) -> bool:
        """Whether Kafka's answer to a commit is waited for."""
        return bool(self._introduced) or self._clearing.asking

    def _introducing(self, now: float) -> bool:
        """Whether Kafka has not answered yet to what says that partitions are ours."""
        if self._introduced and (now >= self._introduced_by or self._intake.answer(self._introduced) is not None):
            self._introduced.clear()
        return bool(self._introduced)

    def _missing(self, partition: TopicPartition, first: int, last: int) -> None:
        """Offsets were passed over; those of transactions' marks held no record."""
        reason = self._intake.missing(partition, first, last)
        if reason is not None:
            self._gap(partition, first, last, reason)

    def _commit(self, *, now: bool = False) -> None:
        if now or time.monotonic() >= self._commit_due:
            self._commit_due = time.monotonic() + _COMMIT_EVERY
            if self._intake.health.commit_failed:
                self._intake.health.commit_failed = False
                self._ledger.recommit()
            self._intake.commit(self._ledger.committable())

    def _gap(self, partition: TopicPartition, first: int, last: int, reason: str) -> None:
        """Count, alarm and record a range that nobody has read; the position waits for the letter."""
        self._metrics.gaps.inc(last - first + 1)
        self._log.error(
            "jobs could not be read", topic=partition[0], partition=partition[1], first=first, last=last, reason=reason
        )
        self._publisher.gap(partition, first, last, reason, self._ledger.open(partition, first, last, 1))

    def _drain(self) -> None:
        """Stop taking, finish what is in flight within the grace, settle, commit, leave the group."""
        self._draining = True
        grace = self._settings.worker.shutdown_grace
        self._log.info("draining", in_flight=self._ledger.unsettled(), grace_s=grace)
        deadline = self._ends_at = time.monotonic() + grace
        self._intake.pause()
        while (self._ledger.unsettled() or self._outbox.unconfirmed) and time.monotonic() < deadline:
            self._take(self._intake.poll(0, 1))
            self._turn(_BUSY_WAIT)
            self._commit()
        self._commit_last(deadline)
        left = self._ledger.unsettled()
        self._intake.close()
        self._outbox.close(max(0.0, min(5.0, deadline - time.monotonic())))
        self._log.info("stopped", unsettled=left)

    def _commit_last(self, deadline: float) -> None:
        """Commit all that is settled: what is refused because the group rebalances is taken after that."""
        marks: Mapping[TopicPartition, Mark] = {}
        taken: bool | None = False
        while True:
            if taken is False:
                marks = self._ledger.marks(self._ledger.assigned())
                self._intake.commit(marks, last=True)
            taken = self._intake.answer(marks)
            if taken or time.monotonic() >= deadline:
                return
            self._take(self._intake.poll(_BUSY_WAIT if taken is None else _IDLE_POLL, 1))
