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
from tests.backends.numpy_models import CRASHES, EATS, FLAKY_CRASH, HANGS, KILLS_WORKER, NAN, NO_MEMORY, REFUSED

from penstock_schemas.encoding import JobEncoder
from penstock_schemas.errors import ErrorCode
from penstock_schemas.headers import Header
from penstock_schemas.outcomes import Outcome
from penstock_schemas.requests import RequestedOutput

MODEL: Final = "double"
_ONLY_Y: Final = (RequestedOutput("y", None, None),)  # the model's other output says how large the batch was: that may differ
_REPEATED: Final = 0.03
"""How many of the jobs are submitted a second time."""
_REMEMBERED: Final = 500
_TWINS: Final = 100
"""Of so many jobs in a row, all twins have one id."""
ATTEMPTS: Final = 4
"""Tries that a job has in these fleets."""


class Kind(StrEnum):
    """What is special about a job; it begins the job's id, so that a complaint about one says what it was."""

    ORDINARY = "ordinary"
    ROWS = "rows"
    PLAIN = "plain"
    """JSON with its id in the body, without key or headers."""
    HEADED = "headed"
    """With headers of its own, which must come back untouched wherever the job is kept."""
    TWIN = "twin"
    """Another job with the same id as the twin before it."""
    HURRIED = "hurried"
    """Its deadline is so near that it may expire, and may not."""
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
    UNKNOWN_VERSION = "unknown-version"
    """It waits for a version that never comes."""
    NO_MEMORY = "no-memory"
    """The device has no room for it, whenever it is run."""
    CRASHES = "crashes"
    """It kills its engine, whenever it is run."""
    HANGS = "hangs"
    """The model never comes back from it."""
    EATS = "eats"
    """It takes memory until its engine is killed."""
    FLAKY = "flaky"
    """It kills its engine the first time it is run."""
    OTHER = "other"
    """For another model."""
    KILLS_WORKER = "kills-worker"
    """It kills its engine and the worker's parent, whenever it is run, as the kernel does where memory ends."""


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
    Kind.UNKNOWN_VERSION: ErrorCode.UNKNOWN_VERSION,
    Kind.NO_MEMORY: ErrorCode.OUT_OF_MEMORY,
    Kind.CRASHES: ErrorCode.ENGINE_CRASH,
    Kind.HANGS: ErrorCode.ENGINE_TIMEOUT,
    Kind.EATS: ErrorCode.OUT_OF_MEMORY,
    Kind.KILLS_WORKER: ErrorCode.ENGINE_CRASH,
}
"""What comes of the kinds that do not succeed."""
_NUMBERS: Final = {
    Kind.REFUSED: REFUSED,
    Kind.NAN_OUTPUT: NAN,
    Kind.NO_MEMORY: NO_MEMORY,
    Kind.CRASHES: CRASHES,
    Kind.HANGS: HANGS,
    Kind.EATS: EATS,
    Kind.FLAKY: FLAKY_CRASH,
    Kind.KILLS_WORKER: KILLS_WORKER,
}
_HURRY_US: Final = 300_000
_ATTEMPTS: Final = {
    Kind.NO_MEMORY: (ATTEMPTS, ATTEMPTS),
    Kind.CRASHES: (2, 2),
    Kind.HANGS: (2, 2),
    Kind.EATS: (2, 2),
    Kind.FLAKY: (1, 2),  # if it died beside others, nobody pays
    Kind.KILLS_WORKER: (2, ATTEMPTS),
}
"""Tries that those take which are tried again."""

KILLERS: Final = (Kind.CRASHES, Kind.HANGS, Kind.EATS, Kind.FLAKY, Kind.KILLS_WORKER)
"""Those that kill engines, or workers: dealt sparingly, for each costs two."""
_ALL_TRIES: Final = (Kind.NO_MEMORY, *KILLERS)
"""Those that use up all the tries they have: what ends the worker at the last one ends them, and that may have been us."""
RETRIED: Final = (Kind.UNKNOWN_VERSION, Kind.NO_MEMORY, *KILLERS)
"""Those that go through the retry topics."""

USUAL: Final[Mapping[Kind, float]] = {
    Kind.ORDINARY: 160,
    Kind.ROWS: 12,
    Kind.PLAIN: 10,
    Kind.HEADED: 4,
    Kind.TWIN: 2,
    Kind.HURRIED: 2,
} | {kind: 2 for kind in _CODES if kind not in RETRIED}
TRIED: Final[Mapping[Kind, float]] = {
    **USUAL,
    Kind.UNKNOWN_VERSION: 2,
    Kind.NO_MEMORY: 1,
    Kind.CRASHES: 0.03,
    Kind.FLAKY: 0.03,
    Kind.HANGS: 0.01,
    Kind.EATS: 0.01,
}
"""The usual, and some that are tried again; of 60,000 jobs, some eight crash, as many are flaky, and three each hang or eat.

Each costs three engines: one beside others, one alone, and one more at its second try.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """The one right answer: ``outputs`` where it succeeds, else a code.

    ``attempts``: how many tries it takes at least and at most. ``may_crash``: it may end with engine_crash instead, where it
    was we who ended its engine, or its worker, at its last try. ``expires_after``: so many seconds after it was accepted it
    may expire instead. ``anything``: any outcome is right, as long as there is one.
    """

    status: str
    code: ErrorCode | None = None
    outputs: Mapping[str, NDArray[Any]] | None = None
    attempts: tuple[int, int] = (1, 1)
    may_crash: bool = False
    expires_after: float | None = None
    anything: bool = False

    @property
    def may_fail(self) -> bool:
        """Whether a dead letter of it is no surprise: one that may succeed at a second try may leave one, too."""
        return self.anything or self.code is not None or self.attempts[1] > 1

    def objection(self, outcome: Outcome, accepted_ms: int, told_ms: int) -> str | None:
        """What is wrong with ``outcome``, told at ``told_ms``; None where it is right."""
        if self.anything:
            return None
        if self.expires_after is not None and outcome.status == "expired":
            early = accepted_ms + self.expires_after * 1000 - told_ms
            return f"expired {early:g} ms before its deadline" if early > 0 else None
        crashed = self.may_crash and outcome.error_code == ErrorCode.ENGINE_CRASH
        if outcome.status != self.status or (outcome.error_code != self.code and not crashed):
            told = f" ({outcome.error})" if outcome.error else ""
            return f"is {outcome.status} {outcome.error_code or ''}{told}, and {self.status} {self.code or ''} is right"
        if outcome.attempts < self.attempts[0]:
            return f"came after {outcome.attempts} tries, and {self.attempts[0]} are right"
        wanted = self.outputs or {}
        if outcome.outputs.keys() != wanted.keys():
            return f"has outputs {sorted(outcome.outputs)}, and {sorted(wanted)} are right"
        for name, array in wanted.items():
            if not np.array_equal(outcome.outputs[name], array):
                return f"says {name} = {outcome.outputs[name].tolist()}, and {array.tolist()} is right"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A record for the jobs topic. ``id`` is None where the fleet derives it from the record's place.

    ``any_id``: what its id is, is the fleet's to find out, and nothing is known of it here.
    """

    kind: Kind | str
    id: str | None
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    expected: Expected
    any_id: bool = False
    generation: int = 0
    """How often it was redriven."""


def make_jobs(seed: int, count: int, weights: Mapping[Kind, float] = USUAL, *, repeated: float = _REPEATED) -> Iterator[Job]:
    """``count`` jobs, some of them twice (once more than ``count`` says, and later), the same for the same seed.

    ``weights``: how often each kind comes, against the others. ``repeated``: how many come twice.
    """
    random = Random(seed)
    encoders = _Encoders()
    remembered: list[Job] = []
    for number in range(count):
        (kind,) = random.choices(list(weights), list(weights.values()))
        job = _make(random, encoders, kind, number)
        yield job
        if job.id is not None and random.random() < repeated:
            remembered.append(job)
        if len(remembered) > _REMEMBERED or (remembered and random.random() < repeated / 2):
            yield remembered.pop(random.randrange(len(remembered)))
    yield from remembered


class _Encoders:
    def __init__(self) -> None:
        self.binary = JobEncoder(MODEL, outputs=_ONLY_Y)
        self.json = JobEncoder(MODEL, outputs=_ONLY_Y, binary=False)
        self.other = JobEncoder("other", outputs=_ONLY_Y)
        self.unknown = JobEncoder("no-such-model", outputs=_ONLY_Y)
        self.version = JobEncoder(MODEL, "77", outputs=_ONLY_Y)
        self.hurried = JobEncoder(MODEL, outputs=_ONLY_Y, timeout_us=_HURRY_US)


def _make(random: Random, encoders: _Encoders, kind: Kind, number: int) -> Job:
    job_id = f"{kind}-{number // _TWINS if kind is Kind.TWIN else number}"
    x = _inputs(random, kind)
    return Job(
        kind=kind,
        id=None if kind is Kind.NAMELESS else job_id,
        key=None if kind in (Kind.NAMELESS, Kind.PLAIN) else job_id.encode(),
        value=_value(random, encoders, kind, x, job_id),
        headers=_headers(random, kind),
        expected=_expected(kind, x),
    )


def _expected(kind: Kind, x: NDArray[np.float32]) -> Expected:
    code, attempts = _CODES.get(kind), _ATTEMPTS.get(kind, (1, 1))
    if code is None:
        within = _HURRY_US / 1e6 if kind is Kind.HURRIED else None
        return Expected("succeeded", None, {"y": x * 2}, attempts, expires_after=within)
    return Expected("expired" if kind is Kind.LATE else "failed", code, attempts=attempts, may_crash=kind in _ALL_TRIES)


def _headers(random: Random, kind: Kind) -> tuple[Header, ...]:
    if kind is Kind.LATE:
        return (("ce_deadline", b"2020-01-01T00:00:00Z"),)
    if kind in (Kind.HEADED, Kind.NO_MEMORY):  # names may repeat, and values be missing or any bytes
        return (("traceparent", b"00-1-2-01"), ("of-mine", random.randbytes(8)), ("of-mine", None), ("Of-Mine", b""))
    return ()


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
        case Kind.OTHER:
            return encoders.other.encode({"x": x})
        case Kind.UNKNOWN_VERSION:
            return encoders.version.encode({"x": x})
        case Kind.HURRIED:
            return encoders.hurried.encode({"x": x})
        case Kind.GARBAGE | Kind.NAMELESS:
            return b"\xff" + random.randbytes(random.randint(1, 200))  # never JSON, which begins with no such byte
        case Kind.EMPTY:
            return random.choice((None, b""))
        case _:
            return encoders.binary.encode({"x": x})
