"""Owns the projector's loop: outcomes from the topic into Redis, for ever, whatever goes away meanwhile.

Every trouble ends in the same place: the partition is read no further until Redis has said how far it is, and then goes on
from there. So nothing is lost, and nothing depends on what became of a call whose answer never came.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from penstock_worker.project.plan import Change, Planner, Records
from penstock_worker.project.position import Cause, Track, decide_start
from penstock_worker.project.source import Source
from penstock_worker.project.store import MOVED, Store, StoreUnavailable

_BATCH: Final = 2048
_IDLE_WAIT: Final = 0.25
_LOOK_SECONDS: Final = 1.0
_AHEAD: Final = 1
"""Batches prepared while Redis works on the one before."""
_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 2.0
_CALM_SECONDS: Final = 30.0
"""So long without trouble, and the back-off begins anew."""
_PLACE_SECONDS: Final = 0.1
_SAY_SECONDS: Final = 60.0


class ProjectorMetrics(Protocol):
    """What the projector counts. Called once a batch or less often, never once an outcome."""

    kafka_problem: str | None
    """Why no outcomes come from Kafka now, or None."""

    def projected(self, written: int, present: int) -> None:
        """Outcomes that were written, and outcomes that were not because an earlier one stands."""
        ...

    def skipped(self, garbage: int, expired: int) -> None:
        """Records that are no outcomes, and outcomes that had their time already."""
        ...

    def started(self, cause: Cause) -> None:
        """A partition's reading started, or started again somewhere else."""
        ...

    def store_available(self, available: bool) -> None:  # noqa: FBT001 - a gauge
        """Redis went away, or came back."""
        ...

    def lag(self, records: int) -> None:
        """Records in the topic that are not in Redis yet."""
        ...


class _NoMetrics:
    kafka_problem: str | None = None

    def projected(self, written: int, present: int) -> None: ...
    def skipped(self, garbage: int, expired: int) -> None: ...
    def started(self, cause: Cause) -> None: ...
    def store_available(self, available: bool) -> None: ...  # noqa: FBT001
    def lag(self, records: int) -> None: ...


class Projector:
    """One projector. :meth:`turn` is one turn of its loop; nothing in it waits longer than one call to Redis or Kafka may."""

    def __init__(
        self,
        source: Source,
        store: Store,
        planner: Planner,
        result_ttl: float,
        *,
        metrics: ProjectorMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._store = store
        self._planner = planner
        self._ttl_ms = int(result_ttl * 1000)
        self._metrics: ProjectorMetrics = metrics or _NoMetrics()
        self._clock = clock
        self._log = structlog.get_logger("penstock.projector")
        self._tracks: dict[int, Track] = {}
        self._under_way: deque[list[tuple[Track, int, int]]] = deque()  # of each send: track, next offset, outcomes
        self._topic_id: str | None = None
        self._now_ms = 0
        self._look_due = 0.0
        self._suitable = False
        self._away: str | None = None
        self._backoff = _FIRST_BACKOFF
        self._calm_at = 0.0
        self._retry_at = 0.0
        self._place_due = 0.0
        self._garbage = 0
        self._say_garbage_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether Redis was found suitable, the group was joined, and every partition that is ours flows."""
        settled = self._tracks.keys() == set(self._source.assigned) and all(track.synced for track in self._tracks.values())
        return self._suitable and self._away is None and self._source.joined and settled

    def turn(self) -> None:
        """Take what is there, send it, and hear what became of the batch before. Raises StoreUnsuitable, at first only."""
        left = self._retry_at - self._clock()
        if left > 0:
            self._bide(min(left, _IDLE_WAIT))
            return
        try:
            if not self._suitable:
                self._store.check()
                self._suitable = True
                self._metrics.store_available(True)
            self._heed()
            now = self._clock()
            if now >= self._look_due or (now >= self._place_due and not all(track.synced for track in self._tracks.values())):
                self._look()
            batch = self._source.take(_BATCH, 0 if self._under_way else _IDLE_WAIT)
            self._send(batch)
            while len(self._under_way) > (_AHEAD if batch else 0):
                self._receive()
        except StoreUnavailable as error:
            self._on_away(error)
        else:
            if self._away is not None and not self._under_way:
                self._on_back()

    def close(self) -> None:
        """Hear the last answers, and leave the group."""
        try:
            while self._under_way:
                self._receive()
        except StoreUnavailable:
            pass  # the next owner asks Redis how far it is
        self._source.close()
        self._store.drop()

    def _bide(self, wait: float) -> None:
        """Stay in the group while Redis is away. All is paused; what comes nevertheless is read again later."""
        if self._clock() >= self._look_due:
            self._look_due = self._clock() + _LOOK_SECONDS
            self._say_lag(ask=True)  # nothing is fetched, so nothing tells by itself
        for records in self._source.take(1, wait):
            if records.partition in self._tracks:
                self._tracks[records.partition].synced = False

    def _heed(self) -> None:
        """Take note of partitions that came, went or stopped, and of a topic that was made again."""
        assigned = self._source.assigned
        for partition in self._tracks.keys() - assigned:
            del self._tracks[partition]  # what is under way stays so; Redis checks it against the position
        for partition in assigned - self._tracks.keys():
            self._tracks[partition] = Track(partition)
        for partition in self._source.troubled():
            if partition in self._tracks:
                self._tracks[partition].synced = False
        topic_id = self._source.topic_id
        if topic_id != self._topic_id:
            self._topic_id = topic_id
            for track in self._tracks.values():
                track.synced = False

    def _look(self) -> None:
        """Compare the positions in Redis with what is expected there, and start what stands still, is new or was moved."""
        while self._under_way:
            self._receive()
        tracks = list(self._tracks.values())
        standing = self._store.read([track.partition for track in tracks])
        self._now_ms = standing.now_ms
        self._look_due = self._clock() + _LOOK_SECONDS
        amiss: dict[int, bytes] = {}
        for track, stored in zip(tracks, standing.positions, strict=True):
            if not track.synced or stored != track.expected:
                track.synced = False
                amiss[track.partition] = stored
        if amiss and self._clock() >= self._place_due:
            self._start(amiss)
        self._say_lag()

    def _say_lag(self, *, ask: bool = False) -> None:
        """How much of what is ours Redis has not confirmed."""
        known = [(track.partition, track.applied) for track in self._tracks.values() if track.known]
        self._metrics.lag(self._source.lag(known, ask=ask))

    def _start(self, amiss: Mapping[int, bytes]) -> None:
        """Let partitions flow from where Redis is, given what it holds for each."""
        asked, topic_id = self._clock(), self._topic_id
        self._place_due = asked + _PLACE_SECONDS
        if topic_id is None:
            return
        found = self._source.bounds(amiss, self._now_ms - self._ttl_ms)  # what is older than that has expired
        # Partitions that cannot be placed now must not hold up the others: asking takes a third of the time at most.
        now = self._clock()
        self._place_due = now + max(_PLACE_SECONDS, 2 * (now - asked))
        for partition, bounds in found.items():
            track, stored = self._tracks[partition], amiss[partition]
            start = decide_start(stored, track, topic_id, bounds.low, bounds.high)
            offset = bounds.since if start.offset is None else start.offset
            self._source.start(partition, offset)
            track.topic_id, track.expected, track.live_from = topic_id, stored, start.live_from
            track.sent = track.applied = offset
            track.synced = track.known = True
            self._metrics.started(start.cause)
            if start.cause.is_heal and offset < bounds.high:
                self._log.info("healing", partition=partition, cause=start.cause.value, first=offset, last=bounds.high - 1)

    def _send(self, batch: list[Records]) -> None:
        changes: list[Change] = []
        announce = defaultdict[str, list[bytes]](list)
        sent: list[tuple[Track, int, int]] = []
        garbage = expired = 0
        for records in batch:
            track = self._tracks.get(records.partition)
            if track is None or not track.synced or records.partition not in self._source.assigned:
                continue
            if records.offsets[0] < track.sent:
                track.synced = False  # the client went back by itself
                continue
            plan = self._planner.plan(track, records, self._now_ms)
            changes.append(plan.change)
            track.sent, track.expected = records.offsets[-1] + 1, plan.change.position
            sent.append((track, track.sent, len(plan.change.keys) + len(plan.change.replacements)))
            garbage, expired = garbage + plan.garbage, expired + plan.expired
            for client, ids in plan.announce.items():
                announce[client] += ids
        if changes:
            self._store.send(changes, announce)
            self._under_way.append(sent)
        if garbage or expired:
            self._on_skipped(garbage, expired)

    def _receive(self) -> None:
        answers = self._store.receive()
        written = present = 0
        for (track, applied, outcomes), answer in zip(self._under_way.popleft(), answers, strict=True):
            if answer == MOVED:
                track.synced = False
            else:
                track.applied = applied
                written += answer
                present += outcomes - answer
        self._metrics.projected(written, present)
        if self._away is not None:
            self._on_back()

    def _on_skipped(self, garbage: int, expired: int) -> None:
        self._metrics.skipped(garbage, expired)
        self._garbage += garbage
        if self._garbage and self._clock() >= self._say_garbage_at:
            self._log.warning("records in the outcomes topic that are no outcomes were passed over", records=self._garbage)
            self._garbage = 0
            self._say_garbage_at = self._clock() + _SAY_SECONDS

    def _on_away(self, error: StoreUnavailable) -> None:
        self._store.drop()
        self._under_way.clear()
        self._source.pause()
        for track in self._tracks.values():
            track.synced = False
        if self._away != error.kind:
            self._away = error.kind
            self._log.warning("Redis takes no results; trying again until it does", state=error.kind, error=str(error))
            self._metrics.store_available(False)
        now = self._clock()
        self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF) if now < self._calm_at else _FIRST_BACKOFF
        self._calm_at = now + _CALM_SECONDS
        self._retry_at = now + self._backoff

    def _on_back(self) -> None:
        self._log.info("Redis takes results again", after=self._away)
        self._away = None
        self._metrics.store_available(True)
