"""Owns a job's body as its JSON and its raw tensors: taking it apart, putting it together, and showing it to a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Final, cast

import numpy as np
import orjson

from penstock_schemas.datatypes import DATATYPES
from penstock_schemas.headers import CONTENT_LENGTH, Header, first_values
from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.text import shorten

SHOWN: Final = 16
"""How many elements of a tensor are shown to a person."""
_DEEPEST: Final = 32
"""How deep nested data is shown."""

_SCALARS: Final = re.compile(r"\[\n([^\[\]{}]*?)\n *\]")
"""A list without lists and objects in it, in indented JSON."""


class BodyUnreadable(Exception):
    """The body holds no JSON object where one must be; the message says what is there."""


@dataclass(slots=True)
class Body:
    """A job's request (``document``) and the raw tensors behind it (``raw``, empty where all data is inline)."""

    document: dict[str, Any]
    raw: bytes

    def encode(self) -> bytes:
        """As one record value: the JSON in one line, and the raw tensors behind a line feed. It needs no length header."""
        line = orjson.dumps(self.document)
        return line + b"\n" + self.raw if self.raw else line


def split_body(value: bytes | None, headers: Sequence[Header]) -> Body:
    """Take a body apart as the contract says. Raises BodyUnreadable.

    The JSON is as long as the header ``Inference-Header-Content-Length`` says where there is one, else the first line if that
    alone is a complete object, else the whole value.
    """
    if not value:
        raise BodyUnreadable("there is no body")
    length = first_values(headers).get(CONTENT_LENGTH.lower())
    if length is not None:
        if not length.isdigit() or len(length) > 10 or int(length) > len(value):
            raise BodyUnreadable(f"{CONTENT_LENGTH} is {shorten(length)} where the body has {len(value)} bytes")
        return Body(_object(value[: int(length)]), value[int(length) :])
    line, _, raw = value.partition(b"\n")
    try:
        return Body(_object(line), raw)
    except BodyUnreadable:
        if not raw.strip():
            raise
        return Body(_object(value), b"")


def without_length(headers: Sequence[Header]) -> list[Header]:
    """Headers without that of the JSON's length, which a body that was put together again does not need."""
    return [header for header in headers if header[0].lower() != CONTENT_LENGTH.lower()]


def shown_lines(value: bytes | None, headers: Sequence[Header]) -> list[str]:
    """Whatever is in a body, for a person."""
    if value is None:
        return ["the record had no value (null)"]
    try:
        return body_lines(split_body(value, headers))
    except BodyUnreadable as error:
        return [f"{len(value):,} bytes; {error}", shorten(value, 400)]


def changed_lines(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What is different in a body, a line each: ``-`` as it was, ``+`` as it is, and what stands around it."""
    lines = list(unified_diff(before, after, n=1, lineterm=""))[2:]
    return [line for line in lines if not line.startswith("@@")] or ["  (in what is not shown)"]


def body_lines(body: Body) -> list[str]:
    """A body for a person: the JSON indented, with long data cut short, and a line for each raw tensor."""
    document = dict(body.document)
    if is_array(document.get("inputs")):
        document["inputs"] = [_shortened(entry) for entry in document["inputs"]]
    indented = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    return [*_SCALARS.sub(_in_one_line, indented).splitlines(), *_raw_lines(body)]


def _in_one_line(scalars: re.Match[str]) -> str:
    return f"[{', '.join(line.strip().removesuffix(',') for line in scalars[1].splitlines())}]"


def _object(text: bytes) -> dict[str, Any]:
    try:
        document: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BodyUnreadable(f"it is no JSON: {error}") from error
    if not is_object(document):
        raise BodyUnreadable(f"its JSON is {shorten(document)}, not an object")
    return document


def _shortened(entry: Any) -> Any:
    """A tensor's entry with the first SHOWN elements of its data, nested as they are."""
    data = entry.get("data") if is_object(entry) else None
    return {**entry, "data": _first(data, SHOWN)[0]} if is_array(data) else entry


def _first(data: list[Any], most: int, depth: int = 0) -> tuple[list[Any], int]:
    """The first ``most`` elements of nested lists, with … where more would be; and how many could have followed."""
    kept: list[Any] = []
    for item in data:
        if not most or depth == _DEEPEST:
            return [*kept, "…"], most
        if is_array(item) and item:
            inner, most = _first(item, most, depth + 1)
            kept.append(inner)
        else:
            kept.append(item)
            most -= 1
    return kept, most


def _raw_lines(body: Body) -> list[str]:
    if not body.raw:
        return []
    lines = [f"and {len(body.raw):,} bytes of raw tensors:"]
    at = 0
    entries = body.document.get("inputs")
    for entry in entries if is_array(entries) else []:
        parameters = entry.get("parameters") if is_object(entry) else None
        size = parameters.get("binary_data_size") if is_object(parameters) else None
        if type(size) is int and size >= 0:
            lines.append("  " + _raw_line(cast("dict[str, Any]", entry), body.raw[at : at + size], size))
            at += size
    if at != len(body.raw):
        lines.append(f"  their binary_data_size add up to {at:,}, not to {len(body.raw):,}")
    return lines


def _raw_line(entry: dict[str, Any], raw: bytes, size: int) -> str:
    datatype = DATATYPES.get(str(entry.get("datatype")))
    head = f"{shorten(entry.get('name'))} {entry.get('datatype')} {entry.get('shape')}: {size:,} bytes"
    if datatype is None or not datatype.itemsize or not raw:
        return head
    values = np.frombuffer(raw[: SHOWN * datatype.itemsize], np.uint8)
    whole = len(values) // datatype.itemsize
    numbers: list[Any] = values[: whole * datatype.itemsize].view(datatype.dtype).tolist()
    more = ", …" if size > SHOWN * datatype.itemsize else ""
    return f"{head}: {', '.join(f'{number:.6g}' if isinstance(number, float) else str(number) for number in numbers)}{more}"
