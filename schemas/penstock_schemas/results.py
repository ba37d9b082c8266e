"""Owns encoding a batch's results: one %-template for the whole batch, filled once a job.

The template is the outcome's line with slots for what differs from job to job; what a batch shares is written into it
once. Columns of numbers become text through one call of orjson and a split, a fifth of the cost of formatting each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from penstock_schemas import CONTRACT_VERSION
from penstock_schemas.datatypes import ContractError, Datatype, datatype_of
from penstock_schemas.encoding import json_strings
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.requests import Request, RequestedOutput
from penstock_schemas.tensors import string_elements, write_raw_strings
from penstock_schemas.text import shorten


@dataclass(slots=True)
class _Column:
    """One output of a batch: ``tail`` ends its JSON for all jobs alike, or ``tails`` job by job; ``raws`` follow the line."""

    tail: bytes = b""
    tails: list[bytes] | None = None
    raws: list[bytes] | None = None
    errors: dict[int, str] = field(default_factory=dict[int, str])
    code: ErrorCode = ErrorCode.MODEL_ERROR


def encode_succeeded(
    request: Request,
    *,
    model_name: str,
    model_version: str,
    ids: Sequence[bytes],
    topic: str,
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    outputs: Mapping[str, NDArray[Any]],
    queue_us: NDArray[np.int64],
    decode_us: int,
    batch_wait_us: NDArray[np.int64],
    infer_us: int,
    encode_us: Callable[[], int],
    batch_rows: int,
) -> list[bytes | JobError]:
    """Encode the outcomes of n jobs of one request, in order.

    ``outputs`` are (n, *shape), jobs stacked as in a JobGroup; the arrays of numbers are (n,), times in microseconds.
    ``encode_us`` is asked how long encoding has taken when the tensors are written and the lines are not. Only what the
    request asks for is written (all, if it names none); an unknown name is for the caller to refuse before. A job whose
    values cannot be written as asked gets a JobError in its place, and its neighbours do not notice.
    """
    asked = request.outputs or tuple(RequestedOutput(name) for name in outputs)
    entries: list[bytes] = []
    slots: list[list[bytes]] = []
    raws: list[list[bytes]] = []
    errors: dict[int, JobError] = {}
    for want in asked:
        entry, column = _column(want, outputs[want.name], len(ids), binary=request.binary_output)
        entries.append(entry)
        if column.tails is not None:
            slots.append(column.tails)
        if column.raws is not None:
            raws.append(column.raws)
        for index, problem in column.errors.items():
            errors.setdefault(index, JobError(column.code, f"output {shorten(want.name)}: {problem}"))
    template = b"".join([
        _fixed(_head(request)), b',"id":"%b","status":"succeeded",',
        _fixed(_members(model_name=model_name, model_version=model_version, attempts=request.attempt)),
        b',"origin":"', _fixed(topic.encode()), b'-%b-%b","timings":{"queue_us":%b,',
        _fixed(_members(decode_us=decode_us)), b',"batch_wait_us":%b,',
        _fixed(_members(infer_us=infer_us, encode_us=encode_us(), batch_rows=batch_rows)),
        b'},"outputs":[', b",".join(entries), b"]}\n" if raws else b"]}", b"%b" * len(raws),
    ])  # fmt: skip
    numbers = [_numbers(column) for column in (partitions, offsets, queue_us, batch_wait_us)]
    values: list[bytes | JobError] = list(map(template.__mod__, zip(ids, *numbers, *slots, *raws, strict=True)))
    for index, error in errors.items():
        values[index] = error
    return values


def _head(request: Request) -> bytes:
    reply_to = {"reply_to": request.reply_to} if request.reply_to is not None else {}
    return b"{" + _members(contract=CONTRACT_VERSION, generation=request.generation, **reply_to)


def _members(**values: Any) -> bytes:
    """Members of a JSON object, without its braces."""
    return orjson.dumps(values)[1:-1]


def _fixed(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")


def _numbers(column: NDArray[Any]) -> list[bytes]:
    """Each number of (n,) integers as text."""
    if not len(column):
        return []
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _column(want: RequestedOutput, values: NDArray[Any], jobs: int, *, binary: bool) -> tuple[bytes, _Column]:
    """The template's text for one output, and what goes into its slots."""
    datatype = datatype_of(values.dtype)
    if datatype is None:
        problem = f"its dtype is {values.dtype}, which the Open Inference Protocol has no datatype for"
        return b"%b", _Column(tails=[b""] * jobs, errors=dict.fromkeys(range(jobs), problem))
    is_binary = binary if want.binary is None else want.binary
    rows = values.reshape(jobs, -1) if values.size else values.reshape(jobs, 0)
    if datatype.itemsize == 0:
        column = _strings(rows, binary=is_binary, always_base64=want.content_type == "base64")
    elif is_binary or datatype.name == "FP16":  # JSON has no way to write FP16 that readers agree on.
        column = _raw(rows, datatype)
    else:
        column = _json(rows)
    head = _members(name=want.name, shape=values.shape[1:], datatype=datatype.name)
    return b"".join([b"{", _fixed(head), b",", b"%b" if column.tails is not None else column.tail, b"}"]), column


def _raw(rows: NDArray[Any], datatype: Datatype) -> _Column:
    size = rows.shape[1] * datatype.itemsize
    tail = b'"parameters":{"binary_data_size":%d}' % size
    if not size:
        return _Column(tail, raws=[b""] * len(rows))
    cells = np.ascontiguousarray(rows, datatype.dtype).view(f"V{size}").reshape(len(rows))
    return _Column(tail, raws=cells.tolist())


def _json(rows: NDArray[Any]) -> _Column:
    """Numbers in JSON: all jobs' rows are written in one call, and taken apart where one row ends."""
    if not rows.size:
        return _Column(b'"data":[]')
    column = _Column(code=ErrorCode.NON_FINITE_OUTPUT)
    if rows.dtype.kind == "f":
        infinite = ~np.isfinite(rows).all(axis=1)
        problem = "it holds NaN or infinity, which JSON cannot say; ask for it in binary"
        column.errors = dict.fromkeys(np.flatnonzero(infinite).tolist(), problem)
    native = np.ascontiguousarray(rows, rows.dtype.newbyteorder("="))
    text = orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)
    column.tails = [b'"data":[%b]' % row for row in text[2:-2].split(b"],[")]
    return column


def _strings(rows: NDArray[Any], *, binary: bool, always_base64: bool) -> _Column:
    column = _Column(tails=[], raws=[] if binary else None)
    assert column.tails is not None
    for index, row in enumerate(rows):
        try:
            elements = string_elements(row)
        except ContractError as error:
            column.errors[index] = str(error)
            elements = []
        if column.raws is not None:
            raw = write_raw_strings(elements)
            column.raws.append(raw)
            column.tails.append(b'"parameters":{"binary_data_size":%d}' % len(raw))
        else:
            # BYTES that are no text go in base64, asked for or not: the reader is told by content_type.
            column.tails.append(orjson.dumps(json_strings(elements, always_base64=always_base64))[1:-1])
    return column
