"""Owns the values of tensors: raw little-endian bytes and JSON data to numpy's own layout, and back.

Decoders answer with the values or with a sentence saying what is wrong (the caller adds which tensor of which job);
nothing here raises for untrusted input, and nothing is allocated that the input's own size does not account for.
"""

from __future__ import annotations

import base64
import binascii
import struct
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from penstock_schemas.datatypes import ContractError
from penstock_schemas.narrow import is_array
from penstock_schemas.requests import TensorPlan
from penstock_schemas.text import shorten

_LENGTH: Final = struct.Struct("<I")
Buffer = bytes | bytearray | memoryview
Values: TypeAlias = "Buffer | array[Any]"
"""The values of a tensor of fixed-size elements: its bytes, in whatever holds them."""


def read_raw(raw: Buffer, plan: TensorPlan, string_bytes: int) -> Values | list[bytes] | str:
    """Raw bytes of one tensor, of the length its plan asks for: as they are, or the elements of a BYTES tensor."""
    if plan.nbytes is None:
        return read_raw_strings(raw, plan.elements, string_bytes)
    if plan.datatype.name == "BOOL":
        foreign = bytes(raw).translate(None, b"\0\1")
        if foreign:
            return f"the raw data holds the byte {foreign[0]}; BOOL elements must be 0 or 1"
    return raw


def read_raw_strings(raw: Buffer, elements: int, string_bytes: int) -> list[bytes] | str:
    """Elements of a BYTES tensor: each is four bytes of length, little-endian, then that many bytes."""
    total = len(raw)
    if total < 4 * elements:
        return f"{total} bytes cannot hold {elements} elements, each with its length in 4 bytes"
    strings: list[bytes] = []
    at = 0
    for index in range(elements):
        if at + 4 > total:
            return f"the raw data ends within the length of element {index} of {elements}"
        (length,) = _LENGTH.unpack_from(raw, at)
        if length > string_bytes:
            return f"element {index} has {length} bytes; at most {string_bytes} are allowed"
        at += 4
        if at + length > total:
            return f"element {index} claims {length} bytes where {total - at} are left"
        strings.append(bytes(raw[at : at + length]))
        at += length
    if at != total:
        return f"{total - at} bytes are left over after the last of {elements} elements"
    return strings


def read_json(data: Any, plan: TensorPlan, string_bytes: int, *, may_hold_bool: bool = True) -> Values | list[bytes] | str:
    """JSON data of one tensor, flat or nested as its shape, row-major.

    ``may_hold_bool`` False says that neither true nor false is anywhere in the JSON; then numbers need no look at their
    types, which costs more than all else here: what packs them refuses everything but these two.
    """
    if plan.packer is not None and not may_hold_bool and is_array(data) and len(data) == plan.elements:
        try:
            return plan.packer.pack(*data)
        except (struct.error, OverflowError):
            pass  # Nested, or wrong, or too large for FP32 (which makes it infinite): found out below.
    datatype = plan.datatype
    if datatype.name == "FP16":
        return "FP16 cannot be written in JSON; send it in binary, or as FP32"
    flat = _flatten(data, plan.spec.shape, plan.elements)
    if isinstance(flat, str):
        return flat
    if not datatype.json_types.issuperset(map(type, flat)):
        index, value = next((i, v) for i, v in enumerate(flat) if type(v) not in datatype.json_types)
        return f"element {index} of data is {shorten(value)}; {datatype.name} takes {_wanted(plan)}"
    if datatype.code:
        try:
            return array(datatype.code, flat)
        except OverflowError:
            return _out_of_range(flat, plan)
    if datatype.name == "BOOL":
        return bytes(flat)
    return _strings(flat, string_bytes, is_base64=plan.base64)


def _flatten(data: Any, shape: tuple[int, ...], elements: int) -> list[Any] | str:
    if not is_array(data):
        return [data] if not shape else f"data is {shorten(data)}; it must be a list"
    level: list[Any] = data
    if len(shape) > 1 and level and is_array(level[0]):
        if len(level) != shape[0]:
            return f"data has {len(level)} rows where the shape {list(shape)} says {shape[0]}"
        for axis, size in enumerate(shape[1:], start=1):
            if set(map(type, level)) != {list}:
                return f"data is nested unevenly at depth {axis}; nest it as the shape {list(shape)}, or not at all"
            if set(map(len, level)) != {size}:
                found = next(len(part) for part in level if len(part) != size)
                return f"data has {found} entries at depth {axis} where the shape {list(shape)} says {size}"
            level = list(chain.from_iterable(level))
            if not level:
                break
    if len(level) != elements:
        return f"data has {len(level)} elements where the shape {list(shape)} says {elements}"
    return level


def _wanted(plan: TensorPlan) -> str:
    name = plan.datatype.name
    if name == "BYTES":
        return "strings"
    if name == "BOOL":
        return "true and false"
    if plan.datatype.dtype.kind == "f":
        return "numbers"
    limits = np.iinfo(plan.datatype.dtype)
    return f"whole numbers from {limits.min} to {limits.max}, written without a point or exponent"


def _out_of_range(flat: list[Any], plan: TensorPlan) -> str:
    limits = np.iinfo(plan.datatype.dtype)
    index, value = next((i, v) for i, v in enumerate(flat) if not limits.min <= v <= limits.max)
    return f"element {index} of data is {shorten(value)}; {plan.datatype.name} takes {_wanted(plan)}"


def _strings(flat: list[str], string_bytes: int, *, is_base64: bool) -> list[bytes] | str:
    strings: list[bytes] = []
    for index, text in enumerate(flat):
        # Checked before decoding: base64 of n characters gives at most 3n/4 bytes, UTF-8 at least as many bytes as characters.
        at_most = string_bytes * 4 // 3 + 4 if is_base64 else string_bytes
        if len(text) > at_most:
            return f"element {index} of data has {len(text)} characters; at most {string_bytes} bytes are allowed"
        try:
            element = base64.b64decode(text, validate=True) if is_base64 else text.encode()
        except (binascii.Error, ValueError):
            return f"element {index} of data is {shorten(text)}, which is not base64 as parameters.content_type says"
        if len(element) > string_bytes:
            return f"element {index} of data has {len(element)} bytes; at most {string_bytes} are allowed"
        strings.append(element)
    return strings


def stack_raw(rows: NDArray[np.uint8], plan: TensorPlan) -> NDArray[Any]:
    """Rows of raw bytes, one job each (n, nbytes), as a new, aligned, contiguous array of shape (n, *spec.shape)."""
    return rows.copy().view(plan.datatype.dtype).reshape(len(rows), *plan.spec.shape)


def stack_values(values: bytearray, jobs: int, plan: TensorPlan) -> NDArray[Any]:
    """The joined values of ``jobs`` jobs as an array of shape (jobs, *spec.shape) over the same memory."""
    return np.frombuffer(values, plan.datatype.dtype).reshape(jobs, *plan.spec.shape)


def stack_strings(strings: list[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    """Elements of BYTES tensors as an object array of ``shape``."""
    stacked = np.empty(len(strings), dtype=object)
    stacked[:] = strings
    return stacked.reshape(shape)


def string_elements(values: NDArray[Any]) -> list[bytes]:
    """The elements of an array of text or bytes, row-major. Raises ContractError for elements that are neither."""
    elements: list[Any] = values.ravel().tolist()
    for index, element in enumerate(elements):
        if type(element) is str:
            try:
                elements[index] = element.encode()
            except UnicodeEncodeError as error:
                raise ContractError(f"element {index} is text that UTF-8 cannot say: {error.reason}") from None
        elif not isinstance(element, bytes):
            raise ContractError(f"element {index} is {type(element).__name__}; BYTES takes bytes or str")
    return elements


def write_raw_strings(strings: Sequence[bytes]) -> bytes:
    """A BYTES tensor in binary: each element behind its length in four little-endian bytes."""
    return b"".join([part for element in strings for part in (_LENGTH.pack(len(element)), element)])
