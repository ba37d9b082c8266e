"""Owns the decision what a batch of outcomes changes in Redis, and who is told. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, groupby
from typing import Final, cast

from penstock_schemas.names import Names
from penstock_schemas.outcomes import ContractError, outcome_prefix, parse_prefix
from penstock_worker.project.position import Position, Track

LIVE_MS: Final = 10_000
"""Outcomes younger than this are announced even in a heal: somebody may be waiting for them right now."""

_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:~-"
_MAX_ID_BYTES: Final = 128
_FIRST: Final = b'{"contract":"'
"""Every outcome begins so, and no other JSON that somebody may have put into the topic."""
_ID: Final = b',"id":'
_MAX_CACHED: Final = 8192
_MAX_CACHED_BYTES: Final = 256
_MAX_AHEAD_MS: Final = 86_400_000  # a record's time further ahead of Redis' clock than this is nonsense, and PXAT has bounds


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one partition in the order of their offsets, as columns of equal length n >= 1.

    ``timestamps``: LogAppendTime in ms since 1970.
    """

    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps: Sequence[int]
    offsets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Replacement:
    """One outcome of a generation above 0: it replaces one of a lower generation. ``expiry`` in ms since 1970, as digits."""

    key: bytes
    value: bytes
    expiry: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one call to Redis writes, all or nothing, if the partition's position is ``expected`` so far.

    Results (``keys`` and ``values``, n each; what is there already stays), ``replacements``, and the position. ``expiries``
    are runs: so many results in a row, and when they expire (ms since 1970, as digits); the runs' lengths make n.
    """

    partition: int
    expected: bytes
    position: bytes
    keys: Sequence[bytes] = ()
    values: Sequence[bytes] = ()
    expiries: Sequence[tuple[int, bytes]] = ()
    replacements: Sequence[Replacement] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A change, the ids to announce by client, and how many records are no outcomes, or have had their time."""

    change: Change
    announce: Mapping[str, Sequence[bytes]]
    garbage: int
    expired: int


Caller = tuple[int, str | None]
"""What is the same in all outcomes of a caller: their generation, and the client that waits for them."""


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """Columns of equal length. ``beginnings``: what stands before each outcome's id, the same bytes for all of a caller's."""

    keys: Sequence[bytes]
    values: Sequence[bytes]
    times: Sequence[int]
    offsets: Sequence[int]
    beginnings: Sequence[bytes | None] = ()

    def only(self, keep: Sequence[bool]) -> _Outcomes:
        return _Outcomes(
            list(compress(self.keys, keep)),
            list(compress(self.values, keep)),
            list(compress(self.times, keep)),
            list(compress(self.offsets, keep)),
            list(compress(self.beginnings, keep)),
        )


class Planner:
    """Turns records into changes. Its one piece of state is a bounded cache of what was read from outcomes' beginnings."""

    def __init__(self, names: Names, result_ttl: float) -> None:
        self._result_prefix = names.result_prefix.encode()
        self._ttl_ms = int(result_ttl * 1000)
        self._callers: dict[bytes, Caller | None] = {}

    def plan(self, track: Track, records: Records, now_ms: int) -> Plan:
        """What ``records`` change; ``track`` itself stays as it is. ``now_ms``: Redis' clock, or a little earlier."""
        # Whatever is None is dropped as garbage before anything asks for its bytes.
        keys, values = cast("Sequence[bytes]", records.keys), cast("Sequence[bytes]", records.values)
        outcomes = _Outcomes(keys, values, records.timestamps, records.offsets)
        if min(records.timestamps) + self._ttl_ms <= now_ms:
            outcomes = outcomes.only([time + self._ttl_ms > now_ms for time in outcomes.times])
        expired = len(keys) - len(outcomes.keys)
        if not all(outcomes.keys) or not all(outcomes.values):
            outcomes = outcomes.only([bool(key and value) for key, value in zip(outcomes.keys, outcomes.values, strict=True)])
        outcomes = replace(outcomes, beginnings=_beginnings(outcomes.values))
        callers = self._read(set(outcomes.beginnings))
        if None in callers.values() or not _are_ids(outcomes.keys):
            good = [
                callers[beginning] is not None and _are_ids([key])
                for key, beginning in zip(outcomes.keys, outcomes.beginnings, strict=True)
            ]
            outcomes = outcomes.only(good)
        change = self._change(track, records.offsets[-1] + 1, outcomes, callers, now_ms)
        announce = _announcements(_live(track, outcomes, now_ms), callers)
        return Plan(change, announce, len(keys) - expired - len(outcomes.keys), expired)

    def _read(self, beginnings: set[bytes | None]) -> dict[bytes | None, Caller | None]:
        read: dict[bytes | None, Caller | None] = {}
        for beginning in beginnings:
            if beginning is None or len(beginning) > _MAX_CACHED_BYTES:
                read[beginning] = None if beginning is None else _caller(beginning)
                continue
            if beginning not in self._callers:
                if len(self._callers) >= _MAX_CACHED:
                    self._callers.clear()
                self._callers[beginning] = _caller(beginning)
            read[beginning] = self._callers[beginning]
        return read

    def _change(
        self, track: Track, next_offset: int, outcomes: _Outcomes, callers: Mapping[bytes | None, Caller | None], now_ms: int
    ) -> Change:
        latest = now_ms + _MAX_AHEAD_MS
        keys: Sequence[bytes] = [self._result_prefix + key for key in outcomes.keys]
        values, times = outcomes.values, outcomes.times
        replacements: list[Replacement] = []
        if any(caller is not None and caller[0] for caller in callers.values()):
            generations = [(callers[beginning] or (0, None))[0] for beginning in outcomes.beginnings]
            replacements = [
                Replacement(key, value, self._expiry(time, latest), generation)
                for key, value, time, generation in zip(keys, values, times, generations, strict=True)
                if generation
            ]
            first = [not generation for generation in generations]
            keys, values = list(compress(keys, first)), list(compress(values, first))
            times = list(compress(times, first))
        # Kafka stamps whole batches, so that many in a row have the same time.
        runs = [(len(list(run)), self._expiry(time, latest)) for time, run in groupby(times)]
        position = Position(track.topic_id, next_offset).encode()
        return Change(track.partition, track.expected, position, keys, values, runs, replacements)

    def _expiry(self, time: int, latest: int) -> bytes:
        return b"%d" % (min(time, latest) + self._ttl_ms)


def _beginnings(values: Sequence[bytes]) -> Sequence[bytes | None]:
    """What stands before the id of each of ``values``; often the same before all, which costs less to see than to cut out."""
    first = outcome_prefix(values[0]) if values else None
    if first is not None:
        longer = first + _ID
        if all([value.startswith(longer) for value in values]):  # noqa: C419 - a list: a generator costs twice as much
            return [first] * len(values)
    return list(map(outcome_prefix, values))


def _caller(beginning: bytes) -> Caller | None:
    if not beginning.startswith(_FIRST):
        return None
    try:
        return parse_prefix(beginning)
    except ContractError:
        return None


def _are_ids(keys: Sequence[bytes]) -> bool:
    """Whether all are ids of jobs; derived ones, which begin with ~, among them."""
    if not keys:
        return True
    return all(keys) and max(map(len, keys)) <= _MAX_ID_BYTES and not b"".join(keys).translate(None, _ID_BYTES)


def _live(track: Track, outcomes: _Outcomes, now_ms: int) -> _Outcomes:
    """Those that nobody was told of yet, or that are so young that somebody may be waiting for them."""
    if not outcomes.offsets or outcomes.offsets[0] >= track.live_from:
        return outcomes
    young = now_ms - LIVE_MS
    columns = zip(outcomes.offsets, outcomes.times, strict=True)
    return outcomes.only([offset >= track.live_from or time > young for offset, time in columns])


def _announcements(outcomes: _Outcomes, callers: Mapping[bytes | None, Caller | None]) -> dict[str, Sequence[bytes]]:
    clients = {beginning: caller[1] for beginning, caller in callers.items() if caller is not None and caller[1] is not None}
    if not clients or not outcomes.keys:
        return {}
    if len(callers) == 1:
        return dict.fromkeys(clients.values(), outcomes.keys)
    announce: dict[str, Sequence[bytes]] = {}
    found = defaultdict[str, list[bytes]](list)
    for key, beginning in zip(outcomes.keys, outcomes.beginnings, strict=True):
        client = clients.get(beginning)
        if client is not None:
            found[client].append(key)
    announce.update(found)
    return announce
