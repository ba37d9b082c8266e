"""Owns one record's anatomy: where its JSON ends, which request it is, and the values of its tensors.

The JSON is the first ``Inference-Header-Content-Length`` bytes where that header is given, else the first line if that
alone is a complete object, else the whole value. Requests are parsed once per kind: id, data and sizes are taken out of
the JSON, and what is left is looked up among the requests that are already known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import CONTENT_LENGTH
from penstock_schemas.ids import ID_RULE, is_valid_id
from penstock_schemas.limits import Limits
from penstock_schemas.lru import BytesCache
from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.requests import Template, TensorPlan, parse_request
from penstock_schemas.tensors import Values, read_json, read_raw
from penstock_schemas.text import shorten

_FIRST_LOOK: Final = 4096
_CACHED_ENTRIES: Final = 1024
_CACHED_BYTES: Final = 4 * 1024 * 1024
_CACHED_LONGEST: Final = 16 * 1024
_HOW_TO_SEND_BINARY: Final = (
    "a value is JSON alone, or one line of JSON and the raw tensors, or has its JSON's length in the header "
    "Inference-Header-Content-Length"
)

Source = bytes | memoryview
SingleValues: TypeAlias = "list[Values | list[bytes]]"


@dataclass(slots=True, eq=False)
class Layout:
    """What one kind of JSON says apart from id and inline data. Shared by many records: never changed."""

    template: Template
    sizes: tuple[int | None, ...] | None
    """Raw bytes of each tensor, None for one whose data is inline; None altogether: all are inline."""
    total: int
    """Raw bytes of all tensors together."""
    error: JobError | None


@dataclass(slots=True, eq=False)
class Single:
    """One record's JSON. Not frozen, as :class:`Layout` is not, because frozen ones take three times as long to make."""

    layout: Layout
    body_id: bytes | None
    bad_id: JobError | None
    data: list[Any] | None
    """Inline data, one entry a tensor; None: all tensors are raw."""
    raw_start: int
    """Where the raw tensors begin, counted from the record's start."""
    may_hold_bool: bool = True
    """False: neither true nor false is anywhere in the JSON."""


class RecordReader:
    """Reads single records; keeps what it has parsed. Nothing here raises for any bytes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        bounds = {"entries": _CACHED_ENTRIES, "total": _CACHED_BYTES, "longest": _CACHED_LONGEST}
        self._lines: BytesCache[Single] = BytesCache(**bounds)
        self._kinds: BytesCache[Layout] = BytesCache(**bounds)
        self._last_kind: tuple[bytes, Layout] | None = None

    def read_line(self, line: bytes) -> Single | None:
        """What a line of JSON says that raw tensors follow; None: it is no such line."""
        known = self._lines.get(line)
        if known is not None:
            return known
        document = _load(line)
        if not is_object(document):
            return None
        single = self._examine(document, len(line))
        if single.data is not None:
            return None
        if single.layout.error is None:
            self._lines.put(line, single)
        return single

    def split(self, source: Source, start: int, end: int, content_length: int | None) -> Single | JobError:
        """Find and read the JSON of the record at ``source[start:end]``."""
        if content_length is not None:
            if content_length > end - start:
                here = f"{CONTENT_LENGTH} is {content_length}"
                return _invalid(f"header {here}; that is more than the {end - start} bytes of the value")
            return self._read(source, start, start + content_length, end, whole_if_not=False)
        head = bytes(source[start : min(end, start + _FIRST_LOOK)])
        at = head.find(b"\n")
        if at < 0 and len(head) < end - start:
            head = bytes(source[start:end])
            at = head.find(b"\n")
        if at < 0:
            document = _load(head)
            if not is_object(document):
                return _no_object(document)
            single = self._examine(document, end - start)
            single.may_hold_bool = b"true" in head or b"false" in head
            return single
        return self._read(source, start, start + at + 1, end, whole_if_not=True)

    def _read(self, source: Source, start: int, stop: int, end: int, *, whole_if_not: bool) -> Single | JobError:
        """Read the JSON at ``source[start:stop]``; if it is no object, and that is allowed, that at ``source[start:end]``."""
        if stop - start > self._limits.header_bytes and bytes(source[stop:end][:8]).strip():
            size, most = stop - start, self._limits.header_bytes
            return JobError(
                ErrorCode.TOO_LARGE, f"the JSON before the raw tensors has {size} bytes; at most {most} are allowed"
            )
        line = bytes(source[start:stop])
        if stop < end and (known := self._lines.get(line)) is not None:
            return known
        document = _load(line)
        if not is_object(document) and whole_if_not and stop < end:
            stop = end
            document = _load(bytes(source[start:end]))
        if not is_object(document):
            return _no_object(document)
        single = self._examine(document, stop - start)
        if stop < end and single.data is None and single.layout.error is None:
            self._lines.put(line, single)
        return single

    def values(self, single: Single, source: Source, start: int, end: int) -> SingleValues | JobError:
        """The values of a record whose layout has no error: one entry a tensor."""
        layout, data, at = single.layout, single.data, start + single.raw_start
        if end - at != layout.total and (layout.total or bytes(source[at:end]).strip()):
            return _invalid(
                f"{end - at} bytes follow the JSON where the binary_data_size of its tensors add up to {layout.total}; "
                + _HOW_TO_SEND_BINARY
            )
        values: SingleValues = []
        most = self._limits.string_bytes
        for index, plan in enumerate(layout.template.plans):
            size = None if layout.sizes is None else layout.sizes[index]
            if size is None:
                found = read_json(None if data is None else data[index], plan, most, may_hold_bool=single.may_hold_bool)
            else:
                found = read_raw(source[at : at + size], plan, most)
                at += size
            if isinstance(found, str):
                return _invalid(f"input {shorten(plan.spec.name)}: {found}")
            values.append(found)
        return values

    def _examine(self, document: dict[str, Any], raw_start: int) -> Single:
        """Take id, data and sizes out of ``document``, and look the rest up among the kinds that are known."""
        given = document.pop("id", None)
        body_id = bad_id = None
        if given is not None:
            if type(given) is str and is_valid_id(given):
                body_id = given.encode()
            else:
                bad_id = _invalid(f"id is {shorten(given)}; it must be a string of {ID_RULE}")
        data, sizes = _take_payloads(document, self._limits.tensors)
        layout = self._kind(document)
        if layout.error is None and (sizes is not None or None in data):
            layout = _with_sizes(layout.template, data, sizes or [None] * len(data))
        inline = layout.sizes is None or None in layout.sizes
        return Single(layout, body_id, bad_id, data if inline else None, raw_start)

    def _kind(self, document: dict[str, Any]) -> Layout:
        """The layout of a request whose data is all inline."""
        try:
            key = orjson.dumps(document)
            if self._last_kind is not None and key == self._last_kind[0]:
                return self._last_kind[1]
        except TypeError:  # Nested more deeply than orjson writes: some unknown field. Read it, but do not keep it.
            template = parse_request(document, self._limits)
            return Layout(template, None, 0, template.error)
        known = self._kinds.get(key)
        if known is None:
            template = parse_request(document, self._limits)
            known = Layout(template, None, 0, template.error)
            self._kinds.put(key, known)
        self._last_kind = key, known
        return known


@dataclass(frozen=True, slots=True)
class _NotJson:
    problem: str


def _load(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _NotJson(str(error))


def _invalid(message: str) -> JobError:
    return JobError(ErrorCode.INVALID_JOB, message)


def _no_object(document: Any) -> JobError:
    what = document.problem if isinstance(document, _NotJson) else f"it is {shorten(document)}"
    return _invalid(f"the value is no JSON object: {what}; {_HOW_TO_SEND_BINARY}")


def _take_payloads(document: dict[str, Any], most: int) -> tuple[list[Any], list[Any] | None]:
    """Remove data and binary_data_size from every input; None for the latter where no input has one."""
    data: list[Any] = []
    sizes: list[Any] | None = None
    inputs = document.get("inputs")
    if not is_array(inputs) or len(inputs) > most:
        return data, None
    for index, entry in enumerate(inputs):
        if not is_object(entry):
            break
        data.append(entry.pop("data", None))
        parameters = entry.get("parameters")
        if parameters is not None and is_object(parameters) and (size := parameters.pop("binary_data_size", None)) is not None:
            sizes = sizes or [None] * len(inputs)
            sizes[index] = size
    return data, sizes


def _with_sizes(template: Template, data: list[Any], sizes: list[Any]) -> Layout:
    for plan, inline, size in zip(template.plans, data, sizes, strict=True):
        problem = _payload_problem(plan, inline, size)
        if problem is not None:
            return Layout(template, None, 0, _invalid(f"input {shorten(plan.spec.name)}: {problem}"))
    return Layout(template, tuple(sizes), sum(size or 0 for size in sizes), None)


def _payload_problem(plan: TensorPlan, data: Any, size: Any) -> str | None:
    if size is None:
        return "it has neither data nor parameters.binary_data_size; one of them must say its values" if data is None else None
    if data is not None:
        return "it has both data and parameters.binary_data_size; only one of them can hold its values"
    if type(size) is not int or size < 0:
        return f"parameters.binary_data_size is {shorten(size)}; it must be a whole number of bytes"
    if plan.nbytes is not None and size != plan.nbytes:
        takes = f"{plan.spec.datatype} of shape {list(plan.spec.shape)} takes {plan.nbytes} bytes"
        return f"parameters.binary_data_size is {size}; {takes}"
    return None
