"""Owns a job's body as its JSON and its raw tensors: taking it apart, putting it together, and showing it to a person."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import orjson

from penstock_schemas.datatypes import DATATYPES
from penstock_schemas.headers import CONTENT_LENGTH, Header, first_values
from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.text import shorten

SHOWN: Final = 16
"""How many elements of a tensor are shown to a person."""


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
    """A tensor's entry with at most SHOWN elements of its data, and how many more there are."""
    data = entry.get("data") if is_object(entry) else None
    if not is_array(data):
        return entry
    flat = list(_flat(data, SHOWN + 1))
    if len(flat) <= SHOWN:
        return entry
    return {**entry, "data": [*flat[:SHOWN], "…"]}


def _flat(data: list[Any], most: int) -> Iterator[Any]:
    """The first elements of nested lists, row by row."""
    stack: list[Iterator[Any]] = [iter(data)]
    while stack and most:
        for item in stack[-1]:
            if is_array(item):
                stack.append(iter(item))
            else:
                most -= 1
                yield item
            break
        else:
            stack.pop()


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
