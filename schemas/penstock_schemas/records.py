"""Owns the columns in which deliveries of records come to the decoder, and in which decoded jobs leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from penstock_schemas.errors import JobError
from penstock_schemas.headers import Header
from penstock_schemas.requests import Request


@dataclass(frozen=True, slots=True)
class Records:
    """One delivery of n records, in columns. Only borrowed: nothing that is decoded keeps hold of ``buffer``."""

    buffer: bytes | memoryview
    """All values, joined."""
    ends: NDArray[np.int64]
    """(n,) where each value ends in ``buffer``; it begins where the one before it ends."""
    keys: Sequence[bytes | None]
    timestamps_ms: NDArray[np.int64]
    """(n,) LogAppendTime, Unix ms; below zero where the broker gave none (then no timeout is judged by it)."""
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    headers: Mapping[int, Sequence[Header]] = field(default_factory=dict[int, Sequence[Header]])
    """Headers by record, for the records that have any."""
    nulls: frozenset[int] = frozenset()
    """Records without a value (a null, which Kafka calls a tombstone); they take no bytes of ``buffer``."""

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of(
        cls,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | None] | None = None,
        timestamps_ms: Sequence[int] | None = None,
        partitions: Sequence[int] | None = None,
        offsets: Sequence[int] | None = None,
        headers: Mapping[int, Sequence[Header]] | None = None,
    ) -> Self:
        """Columns from single values; where a column is not given: no keys, no timestamps, partition 0, offsets from 0."""
        count = len(values)
        return cls(
            buffer=b"".join([value or b"" for value in values]),
            ends=np.cumsum([len(value or b"") for value in values], dtype=np.int64),
            keys=[None] * count if keys is None else keys,
            timestamps_ms=np.full(count, -1, np.int64) if timestamps_ms is None else np.asarray(timestamps_ms, np.int64),
            partitions=np.zeros(count, np.int32) if partitions is None else np.asarray(partitions, np.int32),
            offsets=np.arange(count, dtype=np.int64) if offsets is None else np.asarray(offsets, np.int64),
            headers={} if headers is None else headers,
            nulls=frozenset(index for index, value in enumerate(values) if value is None),
        )


@dataclass(slots=True)
class JobGroup:
    """Jobs of one delivery that have everything in common but id and values."""

    request: Request
    indices: NDArray[np.int64]
    """(n,) which records of the delivery these are."""
    inputs: dict[str, NDArray[Any]]
    """By input name, (n, *spec.shape): jobs stacked on a new leading axis; BYTES are object arrays of bytes. Owned."""


@dataclass(slots=True)
class Decoded:
    """What one delivery holds: every record is in exactly one of ``groups``, ``errors`` and ``expired``."""

    ids: list[bytes]
    """One a record, always a valid or derived id."""
    groups: list[JobGroup] = field(default_factory=list[JobGroup])
    errors: list[tuple[int, JobError]] = field(default_factory=list[tuple[int, JobError]])
    expired: list[int] = field(default_factory=list[int])
    context: dict[int, Request] = field(default_factory=dict[int, Request])
    """For failed and expired records, as far as it is known: the request (reply address, model, generation, attempt)."""
