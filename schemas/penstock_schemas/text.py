"""Owns how untrusted values are quoted in messages: short, printable, never more than a line."""

from __future__ import annotations

from typing import Final

from penstock_schemas.narrow import is_array, is_object

MAX_QUOTED: Final = 64
MAX_MESSAGE: Final = 2000


def shorten(value: object, longest: int = MAX_QUOTED) -> str:
    """``value`` as a person would write it in a sentence, cut to about ``longest`` characters. Never raises."""
    if isinstance(value, bytes):
        value = value[: longest + 1].decode("utf-8", "replace")
    if isinstance(value, str):
        cut = value[:longest]
        quoted = '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut) + '"'
        return quoted if len(value) <= longest else f"{quoted}…"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if is_array(value):
        return f"a list of {len(value)}"
    if is_object(value):
        return "an object"
    text = repr(value)
    return text if len(text) <= longest else text[:longest] + "…"
