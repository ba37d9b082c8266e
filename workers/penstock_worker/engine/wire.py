"""Owns what crosses between a worker's parent and its engine: deliveries one way, answers the other.

Bulk travels in shared-memory slots; a pipe carries small tokens that say which slot. Nothing here blocks on a full pipe:
the parent's tokens are bounded by the number of slots, so a child that reads late never stalls it.
"""

from __future__ import annotations

import marshal
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from penstock_schemas.jobs import Records
from penstock_worker.engine.slots import aligned
from penstock_worker.intake.delivery import Isolation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_worker.intake.delivery import Delivery

_HEAD: Final = struct.Struct("<qqqq")
"""Records, bytes of what is told of them, bytes of their values, and 1 once an engine has begun to read them."""
_LENGTH: Final = struct.Struct("<q")
_TOKEN: Final = struct.Struct("<Bqq")
_LARGE: Final = 4096
"""From this mean size of a value on, values are copied one by one instead of being joined first: one copy less."""


class Kind(IntEnum):
    """What a token says."""

    DELIVERY = 1
    """To the engine: slot, sequence number."""
    ANSWERS_READ = 2
    """To the engine: the slot of answers may be used again."""
    STOP = 3
    """To the engine: end when idle."""
    GO = 4
    """To a spare: take over."""
    READY = 11
    """From the engine: models are warm; a JSON description follows."""
    WAITING = 12
    """From the engine: a declared model cannot be loaded yet; the reason follows."""
    DELIVERY_READ = 13
    """From the engine: the slot of a delivery may be used again."""
    RUNNING = 14
    """From the engine: the µs that the next step may take (0: any), and the jobs that it is for: the suspects if it dies.

    Without a body: the same jobs as before.
    """
    ANSWERS = 15
    """From the engine: the slot that holds answers; 1 if they are the last of a batch, which is then no suspect any more."""
    SPARE = 16
    """From a spare: it has done what it may, and waits for :attr:`GO`."""
    ALIVE = 17
    """From an engine that does not serve yet: it is still at it."""


def token(kind: Kind, first: int = 0, second: int = 0, body: bytes = b"") -> bytes:
    """A token with two numbers and, for some kinds, a body."""
    return _TOKEN.pack(kind, first, second) + body


def read_token(data: bytes) -> tuple[Kind, int, int, bytes]:
    """A token's kind, its two numbers and its body."""
    kind, first, second = _TOKEN.unpack_from(data)
    return Kind(kind), first, second, data[_TOKEN.size :]


class Notice(NamedTuple):
    """What an engine should know when it gets a delivery."""

    blocked: frozenset[str] = frozenset()
    """Models that are not to be run: their jobs come back unrun."""
    ahead_ms: int = 0
    """How far the broker's clock, by which deadlines are judged, is ahead of this host's."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery as the engine sees it; ``records.buffer`` is a view of the slot."""

    topic: str
    solo: bool
    notice: Notice
    keys: list[bytes | None]
    records: Records


_NOTHING: Final = Notice()


def delivery_size(delivery: Delivery, notice: Notice = _NOTHING) -> int:
    """An upper bound, in bytes, of what ``delivery`` takes in a slot, together with ``notice``."""
    keys = sum(map(len, filter(None, delivery.keys)))
    # A character of a header's name takes up to four bytes.
    headers = sum(4 * len(name) + len(value or b"") + 32 for pairs in delivery.headers.values() for name, value in pairs)
    names = sum(4 * len(name) + 16 for name in notice.blocked)
    return delivery.bytes + keys + headers + names + len(delivery) * 48 + 4096


def write_delivery(delivery: Delivery, slot: memoryview, notice: Notice = _NOTHING) -> None:
    """Lay ``delivery`` and ``notice`` out in ``slot``, which must hold :func:`delivery_size` bytes."""
    count = len(delivery)
    nulls = [i for i, value in enumerate(delivery.values) if value is None] if None in delivery.values else []
    values = [value or b"" for value in delivery.values]
    solo = delivery.isolation == Isolation.SOLO
    told = (list(notice.blocked), notice.ahead_ms)
    meta = marshal.dumps((delivery.topic, solo, told, list(delivery.keys), dict(delivery.headers), nulls))
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, count))
    _HEAD.pack_into(slot, 0, count, len(meta), int(ends[-1]) if count else 0, 0)
    position = aligned(_HEAD.size)
    for column in (ends, delivery.timestamps_ms, delivery.offsets, delivery.partitions):
        slot[position : position + column.nbytes] = column.view(np.uint8).data
        position = aligned(position + column.nbytes)
    slot[position : position + len(meta)] = meta
    position = aligned(position + len(meta))
    if delivery.bytes >= _LARGE * count:
        for value in values:
            slot[position : position + len(value)] = value
            position += len(value)
    else:
        joined = b"".join(values)
        slot[position : position + len(joined)] = joined


def has_begun(slot: memoryview) -> bool:
    """Whether an engine has begun to read the delivery in ``slot``: if it dies before it is done, that may be why."""
    return bool(_HEAD.unpack_from(slot)[3])


def read_delivery(slot: memoryview) -> Arrived:
    """The delivery in ``slot``. Number columns are copied; the values stay in the slot."""
    count, meta_size, value_size, _ = _HEAD.unpack_from(slot)
    _HEAD.pack_into(slot, 0, count, meta_size, value_size, 1)
    position = aligned(_HEAD.size)
    columns: list[NDArray[Any]] = []
    for dtype in (np.int64, np.int64, np.int64, np.int32):
        columns.append(np.frombuffer(slot, dtype, count, position).copy())
        position = aligned(position + columns[-1].nbytes)
    topic, solo, (blocked, ahead_ms), keys, headers, nulls = marshal.loads(slot[position : position + meta_size])
    position = aligned(position + meta_size)
    ends, timestamps_ms, offsets, partitions = columns
    records = Records(
        buffer=slot[position : position + value_size],
        ends=ends,
        keys=keys,
        timestamps_ms=timestamps_ms,
        partitions=partitions,
        offsets=offsets,
        headers=headers,
        nulls=frozenset(nulls),
    )
    return Arrived(topic, solo, Notice(frozenset(blocked), ahead_ms), keys, records)


class Failure(NamedTuple):
    """Why one job failed: the contract's code and sentence, and what the engine knows for its dead letter or next try."""

    code: str
    message: str
    evidence: str = ""
    model: str | None = None
    version: str | None = None
    batch_rows: int = 0
    """Rows of the batch that the job was in; 0 where it was in none."""
    timeout_us: int | None = None
    """The job's own timeout, from its origin's time."""
    blind: bool = False
    """The job was not decoded: its id may be another one."""


class Answer(NamedTuple):
    """What came of some jobs of one delivery. ``keys`` is None where every job's id is its record's key.

    ``indices`` (little-endian int32) and ``values`` (whole outcome records) run in step; ``failures`` holds, by index into
    the delivery, those that also get a dead letter.
    """

    sequence: int
    indices: bytes
    keys: list[bytes] | None
    values: list[bytes]
    failures: dict[int, Failure]
    expired: int = 0
    """How many of these outcomes say that the job had expired."""
    model: str | None = None
    """The model that was run for these jobs; None where none was."""


class Stats(NamedTuple):
    """One batch, for the metrics: times in µs, ``queue_us`` and ``wait_us`` little-endian int64 a job."""

    model: str
    version: str
    rows: int
    decode_us: int
    infer_us: int
    encode_us: int
    queue_us: bytes
    wait_us: bytes


def answers_size(answer: Answer) -> int:
    """An upper bound, in bytes, of what ``answer`` takes in a slot."""
    values = sum(map(len, answer.values)) + 8 * len(answer.values)
    keys = 0 if answer.keys is None else sum(map(len, answer.keys)) + 8 * len(answer.keys)
    failures = sum(4 * (len(f.code) + len(f.message) + len(f.evidence)) + 1024 for f in answer.failures.values())
    return len(answer.indices) + values + keys + failures + 1024


def write_answers(answers: list[Answer], stats: Stats | None, slot: memoryview) -> None:
    """Lay ``answers`` out in ``slot``. Raises ValueError where they do not fit."""
    # Plain tuples: marshal refuses subclasses, and is several times as fast as pickle.
    plain = [
        (*answer[:4], {index: tuple(failure) for index, failure in answer.failures.items()}, answer.expired, answer.model)
        for answer in answers
    ]
    data = marshal.dumps((plain, None if stats is None else tuple(stats)))
    _LENGTH.pack_into(slot, 0, len(data))
    slot[_LENGTH.size : _LENGTH.size + len(data)] = data


def read_answers(slot: memoryview) -> tuple[list[Answer], Stats | None]:
    """The answers in ``slot``, copied out of it, and the figures of their batch if these are its last."""
    (size,) = _LENGTH.unpack_from(slot)
    answers, stats = marshal.loads(slot[_LENGTH.size : _LENGTH.size + size])
    whole = [
        Answer(sequence, indices, keys, values, {index: Failure(*failure) for index, failure in failures.items()}, *more)
        for sequence, indices, keys, values, failures, *more in answers
    ]
    return whole, None if stats is None else Stats(*stats)


class Running(NamedTuple):
    """What a model is running: the jobs, as delivery sequences and indices (a sequence may come twice)."""

    model: str
    version: str
    jobs: list[tuple[int, NDArray[np.int32]]]


def pack_running(running: Running) -> bytes:
    """The body of a RUNNING token."""
    jobs = [(sequence, indices.tobytes()) for sequence, indices in running.jobs]
    return marshal.dumps((running.model, running.version, jobs))


def unpack_running(body: bytes) -> Running:
    """What :func:`pack_running` packed."""
    model, version, jobs = marshal.loads(body)
    return Running(model, version, [(sequence, np.frombuffer(indices, np.int32)) for sequence, indices in jobs])
