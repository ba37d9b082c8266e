"""Owns the jobs of the fault tests: made from a seed, each with the answer that it must get. Pure.

The model behind them is ``tests/backends/numpy_models.py``: it doubles ``x``, and misbehaves on rows that begin with one of
its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tests.backends.numpy_models import CRASHES, NAN, REFUSED

from penstock_schemas.encoding import JobEncoder
from penstock_schemas.errors import ErrorCode
from penstock_schemas.outcomes import Outcome
from penstock_schemas.requests import RequestedOutput

MODEL: Final = "double"
_ONLY_Y: Final = (RequestedOutput("y", None, None),)  # the model's other output says how large the batch was: that may differ
_REPEATED: Final = 0.03
"""How many of the jobs are submitted a second time."""
_REMEMBERED: Final = 500


class Kind(StrEnum):
    """What is special about a job; it begins the job's id, so that a complaint about one says what it was."""

    ORDINARY = "ordinary"
    ROWS = "rows"
    PLAIN = "plain"
    """JSON with its id in the body, without key or headers."""
    REFUSED = "refused"
    NAN_OUTPUT = "nan-output"
    NAN_INPUT = "nan-input"
    GARBAGE = "garbage"
    NAMELESS = "nameless"
    """Garbage without a key: its id is derived from its place."""
    EMPTY = "empty"
    UNKNOWN_MODEL = "unknown-model"
    WRONG_SHAPE = "wrong-shape"
    LATE = "late"
    """Its deadline had passed before it was submitted."""
    CRASHES = "crashes"
    """It kills its engine, whenever it is run."""


_CODES: Final[Mapping[Kind, ErrorCode]] = {
    Kind.REFUSED: ErrorCode.MODEL_ERROR,
    Kind.NAN_OUTPUT: ErrorCode.NON_FINITE_OUTPUT,
    Kind.NAN_INPUT: ErrorCode.NON_FINITE_INPUT,
    Kind.GARBAGE: ErrorCode.INVALID_JOB,
    Kind.NAMELESS: ErrorCode.INVALID_JOB,
    Kind.EMPTY: ErrorCode.INVALID_JOB,
    Kind.UNKNOWN_MODEL: ErrorCode.UNKNOWN_MODEL,
    Kind.WRONG_SHAPE: ErrorCode.INVALID_INPUT,
    Kind.LATE: ErrorCode.DEADLINE_EXCEEDED,
    Kind.CRASHES: ErrorCode.ENGINE_CRASH,
}
"""What comes of the kinds that do not succeed."""
_NUMBERS: Final = {Kind.REFUSED: REFUSED, Kind.NAN_OUTPUT: NAN, Kind.CRASHES: CRASHES}

USUAL: Final[Mapping[Kind, int]] = {Kind.ORDINARY: 80, Kind.ROWS: 6, Kind.PLAIN: 5} | {
    kind: 1 for kind in _CODES if kind is not Kind.CRASHES
}


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """The one right answer: ``outputs`` where it succeeds, else a code."""

    status: str
    code: ErrorCode | None = None
    outputs: Mapping[str, NDArray[Any]] | None = None

    def objection(self, outcome: Outcome) -> str | None:
        """What is wrong with ``outcome``; None where it is right."""
        if outcome.status != self.status or outcome.error_code != self.code:
            told = f" ({outcome.error})" if outcome.error else ""
            return f"is {outcome.status} {outcome.error_code or ''}{told}, and {self.status} {self.code or ''} is right"
        wanted = self.outputs or {}
        if outcome.outputs.keys() != wanted.keys():
            return f"has outputs {sorted(outcome.outputs)}, and {sorted(wanted)} are right"
        for name, array in wanted.items():
            if not np.array_equal(outcome.outputs[name], array):
                return f"says {name} = {outcome.outputs[name].tolist()}, and {array.tolist()} is right"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A record for the jobs topic. ``id`` is None where the fleet derives it from the record's place."""

    kind: Kind
    id: str | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    expected: Expected


def make_jobs(seed: int, count: int, weights: Mapping[Kind, int] = USUAL) -> Iterator[Job]:
    """``count`` jobs, some of them twice (once more than ``count`` says, and later), the same for the same seed.

    ``weights``: how often each kind comes, against the others.
    """
    random = Random(seed)
    encoders = _Encoders()
    remembered: list[Job] = []
    for number in range(count):
        (kind,) = random.choices(list(weights), list(weights.values()))
        job = _make(random, encoders, kind, number)
        yield job
        if job.id is not None and random.random() < _REPEATED:
            remembered.append(job)
        if len(remembered) > _REMEMBERED or (remembered and random.random() < _REPEATED / 2):
            yield remembered.pop(random.randrange(len(remembered)))
    yield from remembered


class _Encoders:
    def __init__(self) -> None:
        self.binary = JobEncoder(MODEL, outputs=_ONLY_Y)
        self.json = JobEncoder(MODEL, outputs=_ONLY_Y, binary=False)
        self.unknown = JobEncoder("no-such-model", outputs=_ONLY_Y)


def _make(random: Random, encoders: _Encoders, kind: Kind, number: int) -> Job:
    job_id = f"{kind}-{number}"
    x = _inputs(random, kind)
    code = _CODES.get(kind)
    if code is None:
        expected = Expected("succeeded", outputs={"y": x * 2})
    else:
        expected = Expected("expired" if kind is Kind.LATE else "failed", code)
    return Job(
        kind=kind,
        id=None if kind is Kind.NAMELESS else job_id,
        key=None if kind in (Kind.NAMELESS, Kind.PLAIN) else job_id.encode(),
        value=_value(random, encoders, kind, x, job_id),
        headers=(("ce_deadline", b"2020-01-01T00:00:00Z"),) if kind is Kind.LATE else (),
        expected=expected,
    )


def _inputs(random: Random, kind: Kind) -> NDArray[np.float32]:
    """``x`` of the job, FP32 [rows, 4]."""
    rows = random.randint(2, 9) if kind is Kind.ROWS else 1
    # Eighths are exact in float32 and short in JSON; none of them is one of the model's numbers, which are negative.
    x = np.array([[random.randint(0, 8000) / 8 for _ in range(4)] for _ in range(rows)], np.float32)
    if kind in _NUMBERS:
        x[0, 0] = _NUMBERS[kind]
    elif kind is Kind.NAN_INPUT:
        x[0, random.randrange(4)] = random.choice((np.nan, np.inf, -np.inf))
    elif kind is Kind.WRONG_SHAPE:
        x = x[:, : random.randint(1, 3)]
    return x


def _value(random: Random, encoders: _Encoders, kind: Kind, x: NDArray[np.float32], job_id: str) -> bytes | None:
    match kind:
        case Kind.PLAIN:
            return encoders.json.encode({"x": x}, job_id=job_id)
        case Kind.UNKNOWN_MODEL:
            return encoders.unknown.encode({"x": x})
        case Kind.GARBAGE | Kind.NAMELESS:
            return b"\xff" + random.randbytes(random.randint(1, 200))  # never JSON, which begins with no such byte
        case Kind.EMPTY:
            return random.choice((None, b""))
        case _:
            return encoders.binary.encode({"x": x})
