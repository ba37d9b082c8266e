"""Owns jobs to bytes: the JSON line that a caller's like jobs share, and whole record values in both encodings.

In binary the id is not in the value (it is the record key), so that the line is the same bytes from job to job and a
worker parses it once. Nothing of the line depends on the values but the sizes of BYTES tensors.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from penstock_schemas.datatypes import DATATYPES, ContractError, Datatype, datatype_of
from penstock_schemas.requests import RequestedOutput, TensorSpec
from penstock_schemas.tensors import string_elements, write_raw_strings
from penstock_schemas.text import shorten

_CACHED_LINES: Final = 256


@dataclass(frozen=True, slots=True)
class JobEncoder:
    """Encodes a caller's jobs of one kind: everything but id and values is fixed here, and lines are kept by shapes.

    ``timeout_us`` is in microseconds from the record's LogAppendTime; ``reply_to`` is a client id. May be shared by threads.
    """

    model_name: str | None = None
    model_version: str | None = None
    signature: str | None = None
    outputs: tuple[RequestedOutput, ...] = ()
    timeout_us: int | None = None
    reply_to: str | None = None
    binary: bool = True
    _lines: dict[tuple[Any, ...], bytes] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lines", {})

    def encode(self, inputs: Mapping[str, ArrayLike], *, job_id: str | None = None) -> bytes:
        """One record value. ``job_id`` goes into the JSON: only for JSON jobs that are sent without a key.

        Raises ContractError naming the input whose dtype or elements no job can carry.
        """
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        if not arrays:
            raise ContractError("a job needs at least one input")
        if not self.binary or job_id is not None:
            return self._encode_slowly(arrays, job_id)
        key = tuple([(name, array.dtype, array.shape) for name, array in arrays.items()])
        lines: dict[tuple[Any, ...], bytes] = self._lines  # type: ignore[assignment]  # Set in __post_init__.
        line = lines.get(key)
        if line is None:
            if any(_datatype(name, array).itemsize == 0 for name, array in arrays.items()):
                return self._encode_slowly(arrays, None)
            line = self.line([(_spec(name, array), array.size * array.itemsize) for name, array in arrays.items()])
            if len(lines) >= _CACHED_LINES:
                lines.clear()
            lines[key] = line
        return b"".join([line, *[_little_endian(array).tobytes() for array in arrays.values()]])

    def line(self, inputs: Sequence[tuple[TensorSpec, int]]) -> bytes:
        """The JSON line for binary inputs of these specs and sizes in bytes."""
        entries = [_entry(spec, {"parameters": {"binary_data_size": size}}) for spec, size in inputs]
        return orjson.dumps(self._document(entries, None)) + b"\n"

    def _encode_slowly(self, arrays: Mapping[str, NDArray[Any]], job_id: str | None) -> bytes:
        entries: list[dict[str, Any]] = []
        raws: list[bytes] = []
        for name, array in arrays.items():
            try:
                raw, extra = _raw(name, array) if self.binary else (b"", _json(name, array))
            except ContractError as error:
                raise ContractError(f"input {shorten(name)}: {error}") from None
            if self.binary:
                raws.append(raw)
                extra = {"parameters": {"binary_data_size": len(raw)}}
            entries.append(_entry(_spec(name, array), extra))
        text = orjson.dumps(self._document(entries, job_id), option=orjson.OPT_SERIALIZE_NUMPY)
        return b"".join([text, b"\n", *raws]) if self.binary else text

    def _document(self, inputs: list[dict[str, Any]], job_id: str | None) -> dict[str, Any]:
        parameters = {
            "signature_name": self.signature,
            "timeout": self.timeout_us,
            "reply_to": self.reply_to,
            "binary_data_output": self.binary or None,
        }
        document = {
            "id": job_id,
            "model_name": self.model_name,
            "model_version": self.model_version,
            "inputs": inputs,
            "outputs": [_requested(output) for output in self.outputs] or None,
            "parameters": _present(parameters.items()) or None,
        }
        return _present(document.items())


def encode_request_line(
    inputs: Sequence[tuple[TensorSpec, int]],
    *,
    model_name: str | None = None,
    model_version: str | None = None,
    signature: str | None = None,
    outputs: Sequence[RequestedOutput] = (),
    timeout_us: int | None = None,
    reply_to: str | None = None,
) -> bytes:
    """The JSON line, line feed included, that like jobs share; ``inputs``: each spec with its size in bytes."""
    encoder = JobEncoder(model_name, model_version, signature, tuple(outputs), timeout_us, reply_to)
    return encoder.line(inputs)


def encode_job(
    inputs: Mapping[str, ArrayLike],
    *,
    model_name: str | None = None,
    model_version: str | None = None,
    signature: str | None = None,
    outputs: Sequence[RequestedOutput] = (),
    timeout_us: int | None = None,
    reply_to: str | None = None,
    binary: bool = True,
    job_id: str | None = None,
) -> bytes:
    """One record value; see :meth:`JobEncoder.encode`. For many jobs keep a :class:`JobEncoder`."""
    encoder = JobEncoder(model_name, model_version, signature, tuple(outputs), timeout_us, reply_to, binary)
    return encoder.encode(inputs, job_id=job_id)


def _present(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def _requested(output: RequestedOutput) -> dict[str, Any]:
    parameters = _present([("binary_data", output.binary), ("content_type", output.content_type)])
    return {"name": output.name, "parameters": parameters} if parameters else {"name": output.name}


def _datatype(name: str, array: NDArray[Any]) -> Datatype:
    datatype = datatype_of(array.dtype)
    if datatype is None:
        raise ContractError(f"input {shorten(name)} has dtype {array.dtype}; a job carries {', '.join(DATATYPES)}")
    return datatype


def _spec(name: str, array: NDArray[Any]) -> TensorSpec:
    return TensorSpec(name, _datatype(name, array).name, array.shape)


def _entry(spec: TensorSpec, rest: dict[str, Any]) -> dict[str, Any]:
    return {"name": spec.name, "shape": spec.shape, "datatype": spec.datatype, **rest}


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<")) if array.dtype.byteorder == ">" else array


def _raw(name: str, array: NDArray[Any]) -> tuple[bytes, dict[str, Any]]:
    if _datatype(name, array).itemsize == 0:
        return write_raw_strings(string_elements(array)), {}
    return _little_endian(array).tobytes(), {}


def _json(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """An input's data in JSON. BYTES that are not UTF-8 are written in base64, and say so."""
    datatype = _datatype(name, array)
    if datatype.itemsize == 0:
        return json_strings(string_elements(array), always_base64=False)
    if datatype.name == "FP16":
        raise ContractError("FP16 cannot be written in JSON; send it in binary, or as float32")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ContractError("it holds NaN or infinity, which JSON cannot say; send it in binary")
    return {"data": np.ascontiguousarray(_little_endian(array)).reshape(-1)}


def json_strings(strings: Sequence[bytes], *, always_base64: bool) -> dict[str, Any]:
    """The data, and parameters if need be, of a BYTES tensor in JSON: text, or base64 where asked or where it is not UTF-8."""
    if not always_base64:
        try:
            return {"data": [element.decode() for element in strings]}
        except UnicodeDecodeError:
            pass
    return {"parameters": {"content_type": "base64"}, "data": [b64encode(element).decode() for element in strings]}
