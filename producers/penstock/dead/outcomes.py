"""Owns asking Redis what became of jobs: whether a letter is still what its job's result tells of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from penstock.dead.plan import Standing
from penstock_schemas.names import Names
from penstock_schemas.narrow import is_object


class Results(Protocol):
    """The part of a result store that is needed here: see :class:`penstock.transports.ResultStore`."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]: ...


def current_standings(results: Results, names: Names, job_ids: Sequence[str]) -> list[Standing | None]:
    """What Redis says of each job, None where it says nothing (any more). Raises StoreUnavailable and StoreRefused."""
    if not job_ids:
        return []
    values = results.get_many([names.result_key(job_id) for job_id in job_ids])
    return [None if value is None else parse_standing(value) for value in values]


def parse_standing(value: bytes) -> Standing:
    """What an outcome's first line says, tensors unread. What is no outcome is a standing that fits no letter."""
    try:
        document: Any = orjson.loads(value.partition(b"\n")[0])
    except orjson.JSONDecodeError:
        document = None
    if not is_object(document):
        return Standing("unreadable", -1, None, None)
    generation = document.get("generation", 0)
    return Standing(
        str(document.get("status")),
        generation if type(generation) is int else -1,
        document.get("error_code"),
        document.get("origin"),
    )
