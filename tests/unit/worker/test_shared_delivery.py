"""Jobs that share a delivery keep their own: ids stay with values whatever order decoding brings them in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.worker.making import a_delivery, a_model, a_version

from penstock_schemas.jobs import JobDecoder, encode_job
from penstock_schemas.outcomes import decode_outcome
from penstock_worker.engine import wire
from penstock_worker.engine.answers import Answers
from penstock_worker.engine.assembly import Piece
from penstock_worker.engine.catalog import Catalog
from penstock_worker.engine.reader import Reader
from penstock_worker.engine.runner import run

VALUES = [1.5, 100.25, 2.5, 10.5, 3.5, 1000.125, 4.5, 5.5, 60.25, 7.5]


def in_json(value: float) -> bytes:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [value] * 4}
    return json.dumps({"model_name": "m", "inputs": [tensor]}).encode()


def in_binary(value: float) -> bytes:
    return encode_job({"x": np.full((1, 4), value, np.float32)}, model_name="m")


def outcomes(
    values: list[bytes], headers: dict[int, list[tuple[str, bytes | None]]]
) -> dict[bytes, tuple[str, str | None, Any]]:
    """By record key: the outcome's own id, its origin, and the first number of its output."""
    delivery = a_delivery(values, headers=headers)
    slot = memoryview(bytearray(wire.delivery_size(delivery)))
    wire.write_delivery(delivery, slot)
    reader = Reader(JobDecoder(), Catalog({"m": {"1": a_version(a_model())}}))
    blocks, refused = reader.read(1, wire.read_delivery(slot))
    assert refused is None
    found: dict[bytes, tuple[str, str | None, Any]] = {}
    for ran in run([Piece(block, 0, block.jobs) for block in blocks]):
        answer, _ = Answers(1_000_000).succeeded(ran, 1, 0.0)
        for index, value in zip(np.frombuffer(answer.indices, np.int32).tolist(), answer.values, strict=True):
            outcome = decode_outcome(value)
            key = delivery.keys[index] or b""
            assert answer.keys is None or outcome.id.encode() in answer.keys
            found[key] = outcome.id, outcome.origin, outcome["y"].ravel()[0]
    return found


@pytest.mark.parametrize(
    ("values", "headers"),
    [
        ([in_json(value) for value in VALUES], {}),
        ([in_binary(value) for value in VALUES], {3: [("traceparent", b"00-1-2-3")]}),
    ],
    ids=["JSON of several lengths", "one with a header among many without"],
)
def test_every_job_gets_the_result_of_its_own_values(values: list[bytes], headers: dict[int, Any]) -> None:
    found = outcomes(values, headers)
    assert found == {b"k%d" % i: (f"k{i}", f"f.jobs-0-{i}", 2 * value) for i, value in enumerate(VALUES)}
