"""Owns what an inference request says apart from its values: names, shapes, datatypes, parameters, and whether they may be.

Source: Open Inference Protocol v2, ``$inference_request``, with ``model_name`` and ``model_version`` as in its gRPC message
and the binary tensor extension's parameters. Parameters that are not known are ignored, as the protocol asks; those that
would change the result if ignored are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from penstock_schemas.datatypes import DATATYPES, Datatype
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.limits import Limits
from penstock_schemas.names import CLIENT_ID_PATTERN
from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.text import shorten

MAX_NAME: Final = 256
"""Longest name of a tensor or signature."""
MAX_MODEL_NAME: Final = 128
"""Longest name or version of a model."""
MAX_TIMEOUT_US: Final = 2**53
_MOST_PACKED: Final = 4096
_REFUSED_INPUT_PARAMETERS: Final = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
_REFUSED_OUTPUT_PARAMETERS: Final = ("shared_memory_region", "classification")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of one job: ``shape`` is as sent, rows first, without the axis along which jobs are stacked.

    ``name`` is empty where a job sends its one input without: it is then the model's one input.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output asked for: ``binary`` None means as the request's ``binary_output`` says."""

    name: str
    binary: bool | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What the jobs of one group share. ``outputs`` empty: all of them. ``timeout_us`` is in microseconds."""

    model_name: str | None = None
    model_version: str | None = None
    signature: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[RequestedOutput, ...] = ()
    binary_output: bool = False
    timeout_us: int | None = None
    reply_to: str | None = None
    generation: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """How one tensor's values are read: ``nbytes`` is its size in binary, None for BYTES."""

    spec: TensorSpec
    datatype: Datatype
    elements: int
    nbytes: int | None
    base64: bool
    packer: struct.Struct | None
    """Turns all its JSON numbers to bytes in one call, where there are not too many."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A parsed request without id, data and sizes, so that it serves every job that differs in these alone.

    Where ``error`` is set, ``request`` holds what could be read all the same (so that its outcome finds its caller) and
    ``plans`` is empty.
    """

    request: Request
    plans: tuple[TensorPlan, ...]
    error: JobError | None


@dataclass(slots=True)
class _Reader:
    """Reads fields of one request and keeps the first problem."""

    limits: Limits
    error: JobError | None = field(default=None)

    def refuse(self, message: str, code: ErrorCode = ErrorCode.INVALID_JOB) -> None:
        if self.error is None:
            self.error = JobError(code, message)

    def text(self, where: str, holder: Mapping[str, Any], key: str, longest: int) -> str | None:
        """A text field: None where it is absent, null or empty (the gRPC message cannot tell these apart)."""
        value = holder.get(key)
        if value is None or value == "":
            return None
        if type(value) is not str:
            self.refuse(f"{where}{key} is {shorten(value)}; it must be a string")
            return None
        if len(value) > longest or not value.isprintable():
            self.refuse(f"{where}{key} is {shorten(value)}; it must be 1 to {longest} printable characters")
            return None
        return value

    def flag(self, where: str, holder: Mapping[str, Any], key: str) -> bool | None:
        value = holder.get(key)
        if value is not None and type(value) is not bool:
            self.refuse(f"{where}{key} is {shorten(value)}; it must be true or false")
            return None
        return value

    def parameters(self, where: str, holder: Mapping[str, Any]) -> dict[str, Any]:
        value = holder.get("parameters")
        if value is None:
            return {}
        if not is_object(value):
            self.refuse(f"{where}parameters is {shorten(value)}; it must be an object")
            return {}
        return value

    def entries(self, holder: Mapping[str, Any], key: str) -> list[Any]:
        value = holder.get(key)
        if value is None:
            return []
        if not is_array(value):
            self.refuse(f"{key} is {shorten(value)}; it must be a list of tensors")
            return []
        if len(value) > self.limits.tensors:
            self.refuse(f"{key} lists {len(value)} tensors; at most {self.limits.tensors} are allowed", ErrorCode.TOO_LARGE)
            return []
        return value

    def timeout(self, parameters: Mapping[str, Any]) -> int | None:
        value = parameters.get("timeout")
        if value is None or (type(value) is int and value == 0):
            return None
        if type(value) is not int or not 0 < value <= MAX_TIMEOUT_US:
            self.refuse(
                f"parameters.timeout is {shorten(value)}; it must be a whole number of microseconds, 1 to {MAX_TIMEOUT_US}"
            )
            return None
        return value

    def reply_to(self, parameters: Mapping[str, Any]) -> str | None:
        value = parameters.get("reply_to")
        if value is None:
            return None
        if type(value) is not str or not CLIENT_ID_PATTERN.fullmatch(value):
            self.refuse(f"parameters.reply_to is {shorten(value)}; a client id is 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
            return None
        return value


def parse_request(document: dict[str, Any], limits: Limits) -> Template:
    """Read a request whose ids, data and sizes have been taken out. Never raises: the answer carries its error."""
    reader = _Reader(limits)
    parameters = reader.parameters("", document)
    # Read first and apart: whatever else is wrong, the outcome should still find its caller.
    request = Request(
        reply_to=reader.reply_to(parameters),
        model_name=reader.text("", document, "model_name", MAX_MODEL_NAME),
        model_version=reader.text("", document, "model_version", MAX_MODEL_NAME),
        signature=reader.text("parameters.", parameters, "signature_name", MAX_NAME),
        timeout_us=reader.timeout(parameters),
        binary_output=bool(reader.flag("parameters.", parameters, "binary_data_output")),
    )
    if not document.get("inputs"):
        reader.refuse('the request has no "inputs"; it must list at least one tensor with name, shape, datatype and data')
    plans: list[TensorPlan] = []
    entries = reader.entries(document, "inputs")
    for index, entry in enumerate(entries):
        plan = _read_input(reader, f"inputs[{index}]", entry, alone=len(entries) == 1)
        if plan is None:
            break
        if plan.spec.shape[:1] == (0,):
            reader.refuse(f"input {shorten(plan.spec.name)}: its shape has no rows; the first dimension must be 1 or more")
        if any(plan.spec.name == earlier.spec.name for earlier in plans):
            reader.refuse(f"inputs[{index}]: the name {shorten(plan.spec.name)} is there twice; each input needs its own")
        plans.append(plan)
    outputs = _read_outputs(reader, document)
    if reader.error is not None:
        return Template(request, (), reader.error)
    return Template(replace(request, inputs=tuple(plan.spec for plan in plans), outputs=outputs), tuple(plans), None)


def parse_output(entry: Any, limits: Limits) -> TensorPlan | JobError:
    """Read one output of an outcome, which is written like an input."""
    reader = _Reader(limits)
    plan = _read_input(reader, "outputs", entry)
    return plan if plan is not None and reader.error is None else reader.error or JobError(ErrorCode.INVALID_JOB, "no tensor")


def _read_input(reader: _Reader, where: str, entry: Any, *, alone: bool = False) -> TensorPlan | None:
    """Read one tensor; ``alone``: it may be without a name, which is then empty."""
    if not is_object(entry):
        reader.refuse(f"{where} is {shorten(entry)}; it must be an object with name, shape, datatype and data")
        return None
    name = reader.text(f"{where}.", entry, "name", MAX_NAME)
    if name is None:
        if not alone:
            reader.refuse(f"{where} has no name; only a job's one input, for a model that takes one, may do without")
            return None
        name = ""
    where = f"input {shorten(name)}"
    datatype = DATATYPES.get(entry["datatype"]) if type(entry.get("datatype")) is str else None
    if datatype is None:
        reader.refuse(f"{where}: datatype is {shorten(entry.get('datatype'))}; it must be one of {', '.join(DATATYPES)}")
        return None
    shape = _read_shape(reader, where, entry.get("shape"))
    if shape is None:
        return None
    parameters = reader.parameters(f"{where}: ", entry)
    refused = next((key for key in _REFUSED_INPUT_PARAMETERS if key in parameters), None)
    if refused is not None:
        reader.refuse(f"{where}: parameters.{refused} is not supported: a job carries its values itself")
    elements = math.prod(shape)
    return TensorPlan(
        spec=TensorSpec(name, datatype.name, shape),
        datatype=datatype,
        elements=elements,
        nbytes=elements * datatype.itemsize if datatype.itemsize else None,
        base64=datatype.name == "BYTES" and parameters.get("content_type") == "base64",
        packer=struct.Struct(f"<{elements}{datatype.code}") if datatype.code and elements <= _MOST_PACKED else None,
    )


def _read_shape(reader: _Reader, where: str, shape: Any) -> tuple[int, ...] | None:
    limits = reader.limits
    if not is_array(shape) or not all(type(size) is int and size >= 0 for size in shape[: limits.rank]):
        reader.refuse(f"{where}: shape is {_quote_shape(shape)}; it must be a list of whole numbers, 0 or more each")
        return None
    too_large = None
    if len(shape) > limits.rank:
        too_large = f"{len(shape)} dimensions; at most {limits.rank} are allowed"
    elif shape and shape[0] > limits.rows:
        too_large = f"{shape[0]} rows; at most {limits.rows} are allowed in a job"
    # Empty dimensions are counted as one: numpy, too, refuses a shape whose other sizes are absurd.
    elif math.prod(size or 1 for size in shape) > limits.elements:
        too_large = f"the shape {_quote_shape(shape)}; at most {limits.elements} elements are allowed"
    if too_large is not None:
        reader.refuse(f"{where} has {too_large}", ErrorCode.TOO_LARGE)
        return None
    return tuple(shape)


def _quote_shape(shape: Any) -> str:
    if is_array(shape) and len(shape) <= 8 and all(type(size) in {int, float} for size in shape):
        return str(shape)
    return shorten(shape)


def _read_outputs(reader: _Reader, document: Mapping[str, Any]) -> tuple[RequestedOutput, ...]:
    outputs: dict[str, RequestedOutput] = {}
    for index, entry in enumerate(reader.entries(document, "outputs")):
        where = f"outputs[{index}]"
        if not is_object(entry):
            reader.refuse(f"{where} is {shorten(entry)}; it must be an object with a name")
            break
        name = reader.text(f"{where}.", entry, "name", MAX_NAME)
        if name is None:
            reader.refuse(f"{where} has no name; each requested output needs one")
            break
        if name in outputs:
            reader.refuse(f"{where}: the name {shorten(name)} is there twice; ask for each output once")
        parameters = reader.parameters(f"{where}.", entry)
        refused = next((key for key in _REFUSED_OUTPUT_PARAMETERS if parameters.get(key)), None)
        if refused is not None:
            reader.refuse(f"{where}.parameters.{refused} is not supported: outputs come as tensors in the outcome itself")
        content_type = parameters.get("content_type")
        if content_type not in {None, "base64"}:
            reader.refuse(f'{where}.parameters.content_type is {shorten(content_type)}; only "base64" can be asked for')
        binary = reader.flag(f"{where}.parameters.", parameters, "binary_data")
        outputs[name] = RequestedOutput(name, binary, content_type if type(content_type) is str else None)
    return tuple(outputs.values())
