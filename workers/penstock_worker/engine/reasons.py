"""Owns what is told of an exception that a model or a transform raised: the reason in one line, and the evidence behind it.

TensorFlow wraps the reason: what a graph raised begins with ``Graph execution error:``, the nodes' tracebacks stand in front
of the line that says why, and the node's name behind it.
"""

from __future__ import annotations

import re
import traceback
from typing import Final

MOST_REASON: Final = 500
"""Most characters of a reason."""
MOST_EVIDENCE: Final = 8000
"""Most characters of a traceback that travel with a dead letter."""

_GRAPH: Final = "Graph execution error:"
_TRACE: Final = "(most recent call last):"
"""Ends the line above a traceback, Python's or a node's; the lines of it are indented."""
_NOISE: Final = re.compile(
    r"Node: '.*'|<stack traces unavailable>|[0-9]+ root error\(s\) found\.|Exception encountered when calling .*"
)
_BEFORE: Final = re.compile(r"^(?:\([0-9]+\) [A-Z_]+:\s+)?(?:\{\{function_node [^}]*\}\}\s*)*")
"""In front of a reason: the number and kind of one among several, and functions that it was raised in."""
_BEHIND: Final = re.compile(r"\s*(?:\[\[(?:\{\{[^}]*\}\})+\]\])?\s*(?:\[Op:[^\]]*\])?$")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def reason(error: BaseException) -> str:
    """What an exception says in one line; its type's name where it says nothing."""
    return telling_line(str(error)) or type(error).__name__


def telling_line(text: str) -> str:
    """The first line of an exception's text that says why: no traceback, node's name or heading. Empty where there is none."""
    begin = ""
    in_trace = False
    for line in _COLOUR.sub("", text).splitlines():
        told = line.strip()
        if told.endswith(_TRACE):
            in_trace = True
            continue
        if in_trace and (not told or line[0].isspace()):
            continue
        in_trace = False
        told = _BEHIND.sub("", _BEFORE.sub("", told, count=1))
        if told.endswith(_GRAPH):
            begin += told.removesuffix(_GRAPH)
        elif told and not _NOISE.fullmatch(told):
            return (begin + told)[:MOST_REASON]
    return text.strip().partition("\n")[0][:MOST_REASON]


def evidence(error: BaseException) -> str:
    """The traceback; where it is long its last whole lines, behind a line that says so."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    if len(text) <= MOST_EVIDENCE:
        return text
    kept = text[-MOST_EVIDENCE:]
    return "…\n" + (kept.partition("\n")[2] or kept)
