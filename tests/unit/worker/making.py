"""Owns making a worker's inner things for its unit tests: messages, deliveries, models, routes, blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penstock_schemas.errors import JobError
from penstock_schemas.jobs import Request, TensorSpec
from penstock_schemas.settings import ModelSettings
from penstock_worker.engine.assembly import Piece
from penstock_worker.engine.backend import Arrays
from penstock_worker.engine.block import Block
from penstock_worker.engine.catalog import Catalog, Route, Version
from penstock_worker.engine.runner import Ran
from penstock_worker.engine.signature import Port, Signature
from penstock_worker.engine.transforms import Transform
from penstock_worker.intake.delivery import Delivery

DOUBLE = Signature({"x": Port("FP32", (-1, 4))}, {"y": Port("FP32", (-1, 4))})
"""What :func:`double` is the function of."""


def double(inputs: Arrays) -> Arrays:
    return {"y": inputs["x"] * 2}


@dataclass(frozen=True)
class Message:
    """A consumed Kafka message, as far as the worker looks at one."""

    value_: bytes | None = b""
    key_: bytes | None = None
    partition_: int = 0
    offset_: int = 0
    time_ms: int = 0
    headers_: list[tuple[str, bytes | None]] | None = None
    topic_: str = "t"

    def __len__(self) -> int:
        return len(self.value_ or b"")

    def value(self) -> bytes | None:
        return self.value_

    def key(self) -> bytes | None:
        return self.key_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def timestamp(self) -> tuple[int, int]:
        return 2, self.time_ms

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.headers_

    def topic(self) -> str:
        return self.topic_


def messages(*made: Message) -> Any:
    """Our messages in place of confluent_kafka's."""
    return list(made)


def a_delivery(
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes | None] | None = None,
    partitions: Sequence[int] | None = None,
    offsets: Sequence[int] | None = None,
    times_ms: Sequence[int] | None = None,
    headers: Mapping[int, list[tuple[str, bytes | None]]] | None = None,
    sequence: int = -1,
) -> Delivery:
    count = len(values)
    delivery = Delivery(
        "f.jobs",
        list(values),
        [b"k%d" % i for i in range(count)] if keys is None else list(keys),
        np.zeros(count, np.int64) if times_ms is None else np.array(times_ms, np.int64),
        np.zeros(count, np.int32) if partitions is None else np.array(partitions, np.int32),
        np.arange(count, dtype=np.int64) if offsets is None else np.array(offsets, np.int64),
        headers or {},
    )
    delivery.sequence = sequence
    return delivery


@dataclass
class FakeModel:
    """A model that is a Python function, and keeps every call it had."""

    signatures: Mapping[str, Signature]
    function: Callable[[Arrays], Arrays]
    calls: list[Arrays] = field(default_factory=list[Arrays])

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        self.calls.append({name: array.copy() for name, array in inputs.items()})
        return self.function(inputs)

    @property
    def rows(self) -> list[int]:
        """How many rows each call had."""
        return [len(next(iter(inputs.values()))) for inputs in self.calls]


def a_version(
    model: FakeModel, *, name: str = "m", version: str = "1", transform: Transform | None = None, **settings: Any
) -> Version:
    facades = {key: own if transform is None else transform.facade(own) for key, own in model.signatures.items()}
    declared = ModelSettings.model_validate({"path": Path("models/m"), **settings})
    return Version(name, version, declared, model, transform, facades)


def a_model(function: Callable[[Arrays], Arrays] = double, signature: Signature = DOUBLE) -> FakeModel:
    return FakeModel({"serving_default": signature}, function)


def a_request(signature: Signature, shapes: Mapping[str, tuple[int, ...]], /, **more: Any) -> Request:
    specs = tuple(TensorSpec(name, signature.inputs[name].datatype, shape) for name, shape in shapes.items())
    return Request(inputs=specs, **more)


def a_route(version: Version, request: Request) -> Route:
    route = Catalog({version.name: {version.version: version}}).route(request)
    assert not isinstance(route, JobError), route
    return route


def a_block(
    version: Version, inputs: Arrays, *, first: int = 0, solo: bool = False, ready_at: float = 0.0, **request: Any
) -> Block:
    """A block of jobs ``j<first>``, …; ``inputs`` are of shape (jobs, rows, …), as in a decoded group."""
    jobs = len(next(iter(inputs.values())))
    signature = version.signatures["serving_default"]
    asked = a_request(signature, {name: array.shape[1:] for name, array in inputs.items()}, **request)
    route = a_route(version, asked)
    indices = np.arange(first, first + jobs)
    return Block(
        sequence=1,
        topic="f.jobs",
        solo=solo,
        bytes=sum(array.nbytes for array in inputs.values()),
        route=route,
        request=asked,
        rows=asked.inputs[0].shape[0] if route.policy.batched else 1,
        indices=indices.astype(np.int32),
        ids=[b"j%d" % i for i in indices],
        keys_are_ids=True,
        partitions=np.zeros(jobs, np.int32),
        offsets=indices.astype(np.int64),
        queue_us=np.full(jobs, 5, np.int64),
        decode_us=7,
        ready_at=ready_at,
        inputs=inputs,
    )


def whole(*blocks: Block) -> list[Piece[Block]]:
    return [Piece(block, 0, block.jobs) for block in blocks]


def outcomes(ran: list[Ran]) -> dict[bytes, Any]:
    """By job id: the first value of its output, or the code of its error."""
    found: dict[bytes, Any] = {}
    for result in ran:
        block, begin, end = result.piece
        for job in range(begin, end):
            assert block.ids[job] not in found, "a job has one answer"
            failure = result.failed.get(job - begin)
            found[block.ids[job]] = failure[0].code if failure else result.outputs["y"][job - begin].flat[0]
    return found


def firsts(values: Sequence[float], rows: int = 1) -> Arrays:
    """Jobs of ``rows`` rows whose values are all the same number."""
    return {"x": np.repeat(np.array(values, np.float32), rows * 4).reshape(len(values), rows, 4)}


def strings(*elements: bytes, shape: tuple[int, ...] | None = None) -> np.ndarray[Any, np.dtype[Any]]:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array if shape is None else array.reshape(shape)
