"""Owns hostile records: valid jobs of both forms, changed at random, with headers that may say anything. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import numpy as np
from tests.faults.jobs import MODEL, Expected, Job

from penstock_schemas.encoding import JobEncoder
from penstock_schemas.headers import Header
from penstock_schemas.requests import RequestedOutput

_TOKENS: Final = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\\",
    b"\x00",
    b"\xff",
    b"-",
    b"1e999",
    b"-0",
    b"null",
    b"true",
    b"NaN",
    b"18446744073709551616",
    b"0.1",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"[[[[",
    b'"id"',
    b'"shape"',
    b'"FP32"',
    b'"BYTES"',
    b'"parameters"',
    b'"binary_data_size"',
    b'"data"',
    b'"inputs"',
    b'"outputs"',
    b'"timeout"',
    b'"model_version"',
]
_NAMES: Final = [
    "ce_id",
    "ce_deadline",
    "ce_replyto",
    "ce_subject",
    "ce_time",
    "ce_specversion",
    "ce_type",
    "content-type",
    "traceparent",
    "Inference-Header-Content-Length",
    "inference-header-content-length",
    "penstock-id",
    "penstock-generation",
    "penstock-attempt",
    "penstock-origin",
    "penstock-origin-timestamp",
    "penstock-kills",
    "penstock-waited",
    "penstock-probe",
    "penstock-failures",
    "penstock-redriven",
    "penstock-gap",
    "penstock-digest",
    "penstock-error-code",
    "",
    "é",
    "x" * 300,
]
_VALUES: Final = [
    None,
    b"",
    b"0",
    b"1",
    b"7",
    b"-1",
    b"99999999999999999999",
    b"t.jobs-0-0",
    b"2020-01-01T00:00:00Z",
    b"not a time",
    b"2099-01-01T00:00:00Z",
    b"\xff\xfe",
    b"a b",
    b"~x",
    b"good-id",
    b"application/cloudevents+json",
    b"[{}]",
    b"x" * 5000,
]


def make_hostile(seed: int, count: int) -> Iterator[Job]:
    """``count`` records of which nobody knows what they are, each of which must have an outcome."""
    random = Random(seed)
    only_y = (RequestedOutput("y", None, None),)
    encoders = [JobEncoder(MODEL, outputs=only_y, binary=binary, timeout_us=60_000_000) for binary in (True, False)]
    for number in range(count):
        x = np.array([[random.randint(0, 8000) / 8 for _ in range(4)]], np.float32)
        value: bytes | None = random.choice(encoders).encode({"x": x}, job_id=f"hostile-{number}")
        value = mutate(random, value or b"")
        key = random.choice([f"hostile-{number}".encode(), None, b"", random.randbytes(random.randint(1, 200))])
        anything = Expected("", anything=True)
        yield Job("hostile", None, key, value, tuple(_headers(random)), anything, any_id=True)


def mutate(random: Random, value: bytes) -> bytes | None:
    """``value``, changed in one to four ways."""
    if random.random() < 0.02:
        return random.choice((None, b"", b"{}", b"[]", b"null", b"\n", b"{" * 5000, b"[" * 100_000, b'{"a":' * 2000))
    changed = bytearray(value)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        end = min(len(changed), at + random.choice((1, 1, 2, 5, 40)))
        match random.randrange(6):
            case 0:
                changed[at:end] = random.randbytes(end - at)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = random.choice(_TOKENS)
            case 3:
                changed[at:end] = random.choice(_TOKENS)
            case 4:
                changed[at:at] = changed[at:end] * random.choice((2, 50))
            case _:
                _digit(random, changed)
    return bytes(changed)


def _digit(random: Random, changed: bytearray) -> None:
    """Change one digit, if there is one: lengths and shapes that do not fit any more."""
    digits: Sequence[int] = [at for at, byte in enumerate(changed) if 48 <= byte <= 57]
    if digits:
        changed[random.choice(digits)] = random.choice(b"0123456789-.e")


def _headers(random: Random) -> Iterator[Header]:
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 2, 3, 30))):
            yield random.choice(_NAMES), random.choice(_VALUES)
