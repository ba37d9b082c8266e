"""Owns decoding one record in tests: alone, and in the company of its like, which must make no difference."""

from __future__ import annotations

from typing import Any

import orjson

from penstock_schemas.errors import JobError
from penstock_schemas.headers import Header
from penstock_schemas.jobs import Decoded, JobDecoder, JobGroup, Records
from penstock_schemas.limits import Limits

X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}
RAW = b"\0\0\x80?\0\0 @"
"""1 and 2.5 as FP32."""
RAW_X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}


def job(**fields: Any) -> bytes:
    return orjson.dumps({"inputs": [X], **fields})


def tensor(**fields: Any) -> bytes:
    return orjson.dumps({"inputs": [{**X, **fields}]})


def decode(
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: list[Header] | None = None,
    timestamp: int = 1000,
    now: int = 2000,
    limits: Limits | None = None,
) -> Decoded:
    """Decode one record; and again in the company of nine equal ones, which must make no difference."""
    alone = Records.of([value], keys=[key], timestamps_ms=[timestamp], headers={0: headers} if headers else {})
    decoded = JobDecoder(limits).decode(alone, now)
    many = Records.of(
        [value] * 10,
        keys=[key] * 10,
        timestamps_ms=[timestamp] * 10,
        offsets=[0] * 10,
        headers=dict.fromkeys(range(10), headers) if headers else {},
    )
    together = JobDecoder(limits).decode(many, now)
    assert together.ids == decoded.ids * 10
    assert [error for _, error in together.errors] == [error for _, error in decoded.errors] * 10
    assert len(together.expired) == 10 * len(decoded.expired)
    assert [group.request for group in together.groups] == [group.request for group in decoded.groups]
    assert set(together.context.values()) == set(decoded.context.values())
    return decoded


def group_of(decoded: Decoded) -> JobGroup:
    assert decoded.errors == []
    (group,) = decoded.groups
    return group


def error_of(decoded: Decoded) -> JobError:
    assert decoded.groups == []
    ((_, error),) = decoded.errors
    return error
