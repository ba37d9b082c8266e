"""Owns letters in files: one JSON line each with the body in base64, or two files each, and reading them again.

A line is the letter's facts as `penstock dead list --json` has them, and besides: ``key_base64``, ``body_base64`` (null for a
record without a value) and ``headers``, a list of [name, base64 of the value or null]; these three are the record as it is in
Kafka. In a folder the body stands in a file of its own beside the rest: ``NAME.json`` and ``NAME.body``.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import orjson

from penstock.dead.letters import DeadLetter, Record, read_record

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


def letter_line(letter: DeadLetter) -> bytes:
    """One letter as one line, line feed included."""
    return orjson.dumps(_document(letter) | {"body_base64": _base64(letter.record.value)}) + b"\n"


def write_lines(letters: Iterable[DeadLetter], out: IO[bytes]) -> int:
    """Write letters as lines; returns how many."""
    count = 0
    for letter in letters:
        out.write(letter_line(letter))
        count += 1
    return count


def write_file(letters: Iterable[DeadLetter], path: Path) -> int:
    """Write letters as lines to a new file, which is there only once it is whole. Raises OSError, and FileExistsError."""
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("xb") as out:
            count = write_lines(letters, out)
        os.link(part, path)  # unlike a rename, it does not replace what somebody else has made meanwhile
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return count


def write_folder(letters: Iterable[DeadLetter], folder: Path) -> int:
    """Write two files a letter into a folder, which is made where it is missing; a letter there already is written anew."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for letter in letters:
        name = _UNSAFE.sub("_", letter.identity)
        body = folder / f"{name}.body"
        if letter.record.value is not None:
            body.write_bytes(letter.record.value)
        else:
            body.unlink(missing_ok=True)
        (folder / f"{name}.json").write_bytes(orjson.dumps(_document(letter), option=orjson.OPT_INDENT_2) + b"\n")
        count += 1
    return count


def read_export(path: str | Path) -> Iterator[DeadLetter]:
    """The letters of a file or folder written here. Raises OSError, and ValueError naming what is no letter."""
    path = Path(path)
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            body = file.with_suffix(".body")
            yield _letter(orjson.loads(file.read_bytes()), body.read_bytes() if body.exists() else None, str(file))
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            document: dict[str, Any] = orjson.loads(line)
            yield _letter(document, _bytes(document.get("body_base64")), f"{path}, line {number}")


def _document(letter: DeadLetter) -> dict[str, Any]:
    headers = [[name, _base64(value)] for name, value in letter.record.headers]
    stamp = {"timestamp_ms": letter.record.timestamp_ms}
    return letter.document() | stamp | {"key_base64": _base64(letter.record.key), "headers": headers}


def _letter(document: dict[str, Any], body: bytes | None, where: str) -> DeadLetter:
    try:
        topic, partition, offset = document["place"].rsplit("-", 2)
        headers = [(str(name), _bytes(value)) for name, value in document["headers"]]
        key, stamp = _bytes(document["key_base64"]), int(document["timestamp_ms"])
        found = read_record(Record(topic, int(partition), int(offset), stamp, key, body, headers))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is no exported letter: {error!r}") from error
    if not isinstance(found, DeadLetter):
        raise ValueError(f"{where} is the record of a redrive, no letter")  # noqa: TRY004 - what is wrong is the file
    return found


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
