"""The engine's reading side: deliveries become blocks that fit a served model; the rest is refused job by job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from tests.unit.worker.making import FakeModel, a_delivery, a_model, a_version, double

from penstock_schemas.jobs import JobDecoder, encode_job
from penstock_schemas.outcomes import Outcome, decode_outcome
from penstock_worker.engine import wire
from penstock_worker.engine.block import Block
from penstock_worker.engine.catalog import Catalog
from penstock_worker.engine.reader import Reader
from penstock_worker.engine.signature import Port, Signature
from penstock_worker.engine.wire import Answer, Arrived
from penstock_worker.intake.delivery import Isolation

NAN = float("nan")


def reader(**settings: Any) -> Reader:
    version = a_version(a_model(), **settings)
    return Reader(JobDecoder(), Catalog({"m": {"1": version}}))


_NOTHING = wire.Notice()


def arrived(values: Sequence[bytes | None], *, solo: bool = False, notice: wire.Notice = _NOTHING, **columns: Any) -> Arrived:
    delivery = a_delivery(values, offsets=[100 + i for i in range(len(values))], **columns)
    delivery.isolation = Isolation.SOLO if solo else Isolation.NONE
    slot = memoryview(bytearray(wire.delivery_size(delivery, notice)))
    wire.write_delivery(delivery, slot, notice)
    return wire.read_delivery(slot)


def job(value: float, rows: int = 1, *, model_name: str = "m", **more: Any) -> bytes:
    return encode_job({"x": np.full((rows, 4), value, np.float32)}, model_name=model_name, **more)


def refusals(answer: Answer | None) -> dict[int, Outcome]:
    assert answer is not None
    said = np.frombuffer(answer.indices, np.int32).tolist()
    decoded = [decode_outcome(value) for value in answer.values]
    assert answer.keys == [outcome.id.encode() for outcome in decoded]
    for index, outcome in zip(said, decoded, strict=True):
        failure = answer.failures.get(index)
        assert (failure is not None) is (outcome.status == "failed"), "who failed gets a letter, who expired does not"
        assert failure is None or (failure.code, failure.message) == (outcome.error_code, outcome.error)
    return dict(zip(said, decoded, strict=True))


def test_like_jobs_become_one_block() -> None:
    blocks, refused = reader().read(7, arrived([job(1), job(2), job(3)], times_ms=[1] * 3))
    assert refused is None
    (block,) = blocks
    assert (block.sequence, block.topic, block.rows, block.jobs, block.solo) == (7, "f.jobs", 1, 3, False)
    assert block.ids == [b"k0", b"k1", b"k2"]
    assert block.keys_are_ids
    assert block.inputs["x"][:, 0, 0].tolist() == [1, 2, 3]
    assert (block.indices.tolist(), block.offsets.tolist()) == ([0, 1, 2], [100, 101, 102])
    assert abs(int(block.queue_us[0]) - time.time() * 1e6) < 3600 * 1e6, "the time since the record's own, in µs"


def test_queue_times_are_never_negative() -> None:
    (block,), _ = reader().read(1, arrived([job(1)], times_ms=[2**50]))
    assert block.queue_us.tolist() == [0]


def test_each_bad_job_is_refused_by_itself_and_its_neighbours_are_not() -> None:
    text = orjson.dumps({"id": "own", "model_name": "m", "inputs": []})
    values = [
        job(1),
        b"garbage",
        job(NAN),
        None,
        job(2),
        job(3, model_name="other"),
        encode_job({"x": np.zeros((1, 5), np.float32)}, model_name="m", reply_to="me"),
        text,
        job(4, rows=2),
    ]
    blocks, answer = reader().read(1, arrived(values, keys=[None if i == 3 else b"k%d" % i for i in range(9)]))
    taken = {int(index) for block in blocks for index in block.indices}
    assert taken == {0, 4, 8}
    kept = {block.rows: block.inputs["x"][:, 0, 0].tolist() for block in blocks}
    assert kept == {1: [1, 2], 2: [4]}
    found = refusals(answer)
    assert {index: outcome.error_code for index, outcome in found.items()} == {
        1: "invalid_job",
        2: "non_finite_input",
        3: "invalid_job",
        5: "unknown_model",
        6: "invalid_input",
        7: "invalid_job",
    }
    assert found[2].error == "input 'x' holds NaN or infinity (as float32); model 'm' takes finite numbers only"
    assert (found[2].id, found[3].id, found[7].id) == ("k2", "~0-103-0", "own")
    assert (found[6].reply_to, found[6].origin, found[5].model_name) == ("me", "f.jobs-0-106", "other")
    assert not any(block.keys_are_ids for block in blocks)


def test_a_late_job_expires_without_a_letter() -> None:
    values = [job(1, timeout_us=1000), job(2)]
    blocks, answer = reader().read(1, arrived(values, times_ms=[1, 1]))
    assert [block.ids for block in blocks] == [[b"k1"]]
    expired = refusals(answer)[0]
    assert (expired.status, expired.error_code) == ("expired", "deadline_exceeded")


def test_non_finite_inputs_pass_where_the_model_allows_them() -> None:
    (block,), refused = reader(allow_non_finite=True).read(1, arrived([job(NAN)]))
    assert refused is None
    assert np.isnan(block.inputs["x"]).all()


def test_numbers_that_overflow_their_type_are_refused_after_the_cast() -> None:
    text = {"model_name": "m", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1e39, 0, 0, 0]}]}
    blocks, answer = reader().read(1, arrived([orjson.dumps(text)]))
    assert blocks == []
    assert refusals(answer)[0].error_code in {"non_finite_input", "invalid_job"}


@pytest.mark.parametrize(("header", "told"), [(None, 1), (b"4", 4)])
def test_the_attempt_is_the_one_that_the_header_tells_of(header: bytes | None, told: int) -> None:
    headers = {} if header is None else {0: [("penstock-attempt", header)], 1: [("penstock-attempt", header)]}
    values = [job(1), job(2, model_name="other")]
    (block,), answer = reader().read(1, arrived(values, solo=True, headers=headers))
    assert block.solo
    assert block.request.attempt == told
    assert refusals(answer)[1].attempts == told


def test_jobs_of_a_blocked_model_are_refused_and_bad_ones_for_what_they_are() -> None:
    values = [job(1), job(NAN), b"garbage", job(2, model_name="other"), job(3, timeout_us=10**12)]
    blocks, answer = reader().read(
        1, arrived(values, notice=wire.Notice(frozenset({"m"})), times_ms=[int(time.time() * 1000)] * 5)
    )
    assert blocks == []
    assert answer is not None
    assert {index: outcome.error_code for index, outcome in refusals(answer).items()} == {
        0: "model_unavailable",
        1: "model_unavailable",
        2: "invalid_job",
        3: "unknown_model",
        4: "model_unavailable",
    }
    assert answer.failures[4][3:7] == ("m", "1", 0, 10**12)
    blocks, _ = reader().read(1, arrived(values[:1], notice=wire.Notice(frozenset({"another"}))))
    assert [block.ids for block in blocks] == [[b"k0"]]


def test_a_signature_without_free_rows_counts_one_row_a_job() -> None:
    flat = Signature({"x": Port("FP32", (4,))}, {"y": Port("FP32", (4,))})
    version = a_version(FakeModel({"serving_default": flat}, double))
    values = [encode_job({"x": np.ones(4, np.float32)}) for _ in range(3)]
    found: tuple[list[Block], Answer | None] = Reader(JobDecoder(), Catalog({"m": {"1": version}})).read(1, arrived(values))
    (block,) = found[0]
    assert (block.jobs, block.rows, block.route.policy.batched, block.inputs["x"].shape) == (3, 1, False, (3, 4))


def test_jobs_of_many_kinds_do_not_fill_the_memory_of_routes() -> None:
    own = reader()
    for begin in range(0, 9000, 1000):
        values = [job(1, reply_to=f"r{begin + i}") for i in range(1000)]
        blocks, refused = own.read(1, arrived(values))
        assert refused is None
        assert sum(block.jobs for block in blocks) == 1000
    assert len(own._routes) <= 4096


def test_deadlines_are_judged_by_the_brokers_clock() -> None:
    now_ms = int(time.time() * 1000)
    value = encode_job({"x": np.zeros((1, 4), np.float32)}, timeout_us=60_000_000)
    for ahead_ms, late in ((0, 0), (50_000, 0), (70_000, 1), (-300_000, 0)):
        came = arrived([value], times_ms=[now_ms], notice=wire.Notice(ahead_ms=ahead_ms))
        _, answer = reader().read(1, came)
        assert (0 if answer is None else answer.expired) == late, ahead_ms
