"""Owns what came of a job, to bytes and back: encoding batches of results, single failures, and reading outcomes.

An outcome's value is one line of JSON whose keys have a fixed order, and the raw tensors after it, if any. All that
stands before ``,"id":`` is the same bytes for all jobs of one caller and generation, so that the projector can read it
once for all of them (:func:`outcome_prefix`, :func:`parse_prefix`).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from penstock_schemas import CONTRACT_VERSION
from penstock_schemas.datatypes import DATATYPES, ContractError
from penstock_schemas.errors import JobError
from penstock_schemas.limits import MIB, Limits
from penstock_schemas.names import CLIENT_ID_PATTERN
from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.requests import Request, parse_output
from penstock_schemas.results import encode_succeeded
from penstock_schemas.tensors import read_json, read_raw, stack_strings
from penstock_schemas.text import MAX_MESSAGE, shorten

__all__ = [
    "ContractError",
    "Outcome",
    "Timings",
    "decode_outcome",
    "encode_failed",
    "encode_succeeded",
    "outcome_prefix",
    "parse_prefix",
]

Status = Literal["succeeded", "failed", "expired"]
STATUSES: Final = ("succeeded", "failed", "expired")

_LONGEST_PREFIX: Final = 256
_UNBOUNDED: Final = Limits(1 << 62, 64 * MIB, 1 << 62, 1 << 20, 64, 1 << 62, 1 << 62)
"""Outcomes come from our own workers: what bounds them is the topic, not a caller's limits."""


@dataclass(slots=True)
class Timings:
    """How long each step took, in microseconds by the worker's clock, and the rows of the batch that the job was in."""

    queue_us: int = 0
    """From the record's LogAppendTime to its arrival at the worker."""
    decode_us: int = 0
    batch_wait_us: int = 0
    infer_us: int = 0
    encode_us: int = 0
    batch_rows: int = 0


@dataclass(slots=True)
class Outcome:
    """What finally came of a job. ``outcome["name"]`` is an output, of the shape that the model gave it.

    Not frozen, nor are its timings: a client makes one a job, and frozen ones take three times as long.
    """

    id: str
    status: Status
    generation: int = 0
    attempts: int = 1
    origin: str | None = None
    """Topic, partition and offset of the job's record, joined by ``-``."""
    model_name: str | None = None
    model_version: str | None = None
    timings: Timings | None = None
    error: str | None = None
    error_code: str | None = None
    """One of :class:`~penstock_schemas.errors.ErrorCode`, or of a later contract's."""
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    reply_to: str | None = None

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The output called ``name``. Raises KeyError that says which there are."""
        try:
            return self.outputs[name]
        except KeyError:
            there = ", ".join(map(repr, self.outputs)) or "none"
            raise KeyError(f"outcome {self.id} ({self.status}) has no output {name!r}; outputs: {there}") from None


def encode_failed(
    *,
    id: bytes,  # noqa: A002  # The contract's own word.
    status: Literal["failed", "expired"],
    error: JobError,
    origin: str,
    request: Request | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
    attempts: int | None = None,
    generation: int | None = None,
    reply_to: str | None = None,
    timings: Timings | None = None,
) -> bytes:
    """The outcome of a job that gave no result; what is not given comes from ``request``. Never raises for an error's text."""
    request = request or Request()
    reply_to = reply_to or request.reply_to
    generation = request.generation if generation is None else generation
    message = error.message if len(error.message) <= MAX_MESSAGE else error.message[:MAX_MESSAGE] + "…"
    document: dict[str, Any] = {"contract": CONTRACT_VERSION, "generation": generation}
    if reply_to is not None:
        document["reply_to"] = reply_to
    document |= {"id": id.decode("ascii"), "status": status}
    document |= {"model_name": model_name or request.model_name, "model_version": model_version or request.model_version}
    document |= {"attempts": request.attempt if attempts is None else attempts, "origin": origin}
    if timings is not None:
        document["timings"] = timings
    document |= {"error_code": error.code.value, "error": message.encode("utf-8", "replace").decode()}
    return orjson.dumps({key: value for key, value in document.items() if value is not None})


def outcome_prefix(value: bytes) -> bytes | None:
    """What stands before ``,"id":``: the same bytes for all outcomes of one caller and generation. None: not our outcome."""
    at = value.find(b',"id":', 0, _LONGEST_PREFIX)
    return value[:at] if at > 0 else None


def parse_prefix(prefix: bytes) -> tuple[int, str | None]:
    """Generation and reply address of a prefix that :func:`outcome_prefix` found. Raises ContractError if it is none."""
    document = _object(prefix + b"}")
    reply_to = document.get("reply_to")
    if reply_to is not None and (type(reply_to) is not str or not CLIENT_ID_PATTERN.fullmatch(reply_to)):
        raise ContractError(f"reply_to of the outcome is {shorten(reply_to)}, which is no client id")
    return _count(document, "generation", 0), reply_to


def decode_outcome(value: bytes) -> Outcome:
    """Read an outcome. Raises ContractError, and nothing else, for bytes that are none."""
    line, _, raw = value.partition(b"\n")
    document = _object(line)
    status = document.get("status")
    job_id = document.get("id")
    if status not in STATUSES or type(job_id) is not str:
        raise ContractError(f"this is no outcome: its status is {shorten(status)} and its id {shorten(job_id)}")
    generation, attempts = _count(document, "generation", 0), _count(document, "attempts", 1)
    timings = document.get("timings")
    return Outcome(
        id=job_id,
        status=status,
        generation=generation,
        attempts=attempts,
        origin=_text(document, "origin"),
        model_name=_text(document, "model_name"),
        model_version=_text(document, "model_version"),
        timings=_timings(timings) if is_object(timings) else None,
        error=_text(document, "error"),
        error_code=_text(document, "error_code"),
        outputs=_outputs(document.get("outputs"), memoryview(raw)),
        reply_to=_text(document, "reply_to"),
    )


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ContractError(f"this is no outcome: its first line is no JSON ({error})") from None
    if not is_object(document):
        raise ContractError(f"this is no outcome: its first line is {shorten(document)}, not an object")
    return document


def _count(document: dict[str, Any], key: str, absent: int) -> int:
    value = document.get(key, absent)
    if type(value) is not int or value < 0:
        raise ContractError(f"{key} of the outcome is {shorten(value)}; it must be a whole number, 0 or more")
    return value


def _text(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and type(value) is not str:
        raise ContractError(f"{key} of the outcome is {shorten(value)}; it must be a string")
    return value


def _timings(timings: dict[str, Any]) -> Timings:
    return Timings(
        queue_us=_count(timings, "queue_us", 0),
        decode_us=_count(timings, "decode_us", 0),
        batch_wait_us=_count(timings, "batch_wait_us", 0),
        infer_us=_count(timings, "infer_us", 0),
        encode_us=_count(timings, "encode_us", 0),
        batch_rows=_count(timings, "batch_rows", 0),
    )


def _outputs(entries: Any, raw: memoryview) -> dict[str, NDArray[Any]]:
    """The output tensors by name; those that are raw lie in ``raw`` one after the other."""
    outputs: dict[str, NDArray[Any]] = {}
    if entries is not None and not is_array(entries):
        raise ContractError(f"outputs of the outcome is {shorten(entries)}; it must be a list")
    at = 0
    for entry in entries or ():
        parameters = entry.get("parameters") if is_object(entry) else None
        size = parameters.get("binary_data_size") if is_object(parameters) else None
        if size is None:
            name, values = _plain_output(entry, None) or _slow_output(entry, None, raw[:0])
        elif type(size) is not int or not 0 <= size <= len(raw) - at:
            raise ContractError(f"an output's binary_data_size is {shorten(size)} where {len(raw) - at} bytes are left")
        else:
            name, values = _plain_output(entry, raw[at : at + size]) or _slow_output(entry, size, raw[at : at + size])
            at += size
        outputs[name] = values
    if at != len(raw):
        raise ContractError(f"{len(raw)} bytes follow the outcome's line where its outputs' binary_data_size add up to {at}")
    return outputs


def _plain_output(entry: Any, raw: memoryview | None) -> tuple[str, NDArray[Any]] | None:
    """The ordinary case, numbers, without the checks that make good messages; None where it is not that, or is wrong."""
    if not is_object(entry):
        return None
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    known = DATATYPES.get(datatype) if type(datatype) is str else None
    if known is None or not known.code or type(name) is not str or not is_array(shape) or -1 in shape:
        return None
    try:
        if raw is not None:
            return name, np.frombuffer(raw, known.dtype).reshape(shape).copy()
        return name, np.frombuffer(array(known.code, entry["data"]), known.dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError, KeyError):
        return None


def _slow_output(entry: Any, size: int | None, raw: memoryview) -> tuple[str, NDArray[Any]]:
    plan = parse_output(entry, _UNBOUNDED)
    if isinstance(plan, JobError):
        raise ContractError(plan.message)
    where = f"output {shorten(plan.spec.name)}"
    if size is None:
        found = read_json(entry.get("data"), plan, _UNBOUNDED.string_bytes)
    elif plan.nbytes is not None and size != plan.nbytes:
        raise ContractError(f"{where}: binary_data_size is {size}; {plan.spec.datatype} of its shape takes {plan.nbytes} bytes")
    else:
        found = read_raw(raw, plan, _UNBOUNDED.string_bytes)
    if isinstance(found, str):
        raise ContractError(f"{where}: {found}")
    if isinstance(found, list):
        return plan.spec.name, stack_strings(found, plan.spec.shape)
    values: NDArray[Any] = np.frombuffer(bytearray(found), plan.datatype.dtype).reshape(plan.spec.shape)
    return plan.spec.name, values
