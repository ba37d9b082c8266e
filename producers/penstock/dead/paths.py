"""Owns ``PATH=JSON``: where in a request something is set, written as jq writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from penstock_schemas.narrow import is_array, is_object
from penstock_schemas.text import shorten

PATH_RULE: Final = 'names and indices as jq writes them, such as model_version, inputs[0].name or parameters["signature_name"]'
_STEP: Final = re.compile(
    r"""\.?(?P<name>[A-Za-z_][A-Za-z0-9_-]*) | \[(?P<index>[0-9]{1,6})\] | \.?\[(?P<quoted>"(?:[^"\\]|\\.)*")\]""", re.VERBOSE
)


class PathMisses(Exception):
    """There is nothing at the path in this request; the message says where it ends."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One value and where it goes: ``steps`` are names of objects' fields and indices of lists."""

    text: str
    steps: tuple[str | int, ...]
    value: Any

    @property
    def path(self) -> str:
        """Where it goes, in one way of writing it."""
        return _written(self.steps)

    def apply(self, document: dict[str, Any]) -> bool:
        """Set it, in place; whether the field is new. Fields that are not there are made, entries of lists are not.

        Raises PathMisses.
        """
        here: Any = document
        for at, step in enumerate(self.steps[:-1]):
            here = self._enter(here, at, step)
        return self._put(here, self.steps[-1])

    def _enter(self, here: Any, at: int, step: str | int) -> Any:
        self._check(here, at, step)
        if isinstance(step, int):
            return here[step]
        if here.get(step) is None and isinstance(self.steps[at + 1], str):
            here[step] = {}
        return here.get(step)

    def _put(self, here: Any, step: str | int) -> bool:
        self._check(here, len(self.steps) - 1, step)
        new = isinstance(step, str) and step not in here
        # A copy: what is set in one letter must not be shared with the next, where another assignment may change it.
        here[step] = orjson.loads(orjson.dumps(self.value))
        return new

    def _check(self, here: Any, at: int, step: str | int) -> None:
        where = _written(self.steps[:at]) or "the request"
        if isinstance(step, str):
            if not is_object(here):
                raise PathMisses(f"{where} is {shorten(here)}, no object, so it has no {step}")
        elif not is_array(here):
            raise PathMisses(f"{where} is {shorten(here)}, no list, so it has no entry {step}")
        elif step >= len(here):
            raise PathMisses(f"{where} has {len(here)} entries, so none is number {step} (counted from 0)")


def parse_assignment(text: str) -> Assignment:
    """Read ``PATH=JSON``. Raises ValueError that says what is wrong and what would be right."""
    steps: list[str | int] = []
    at = 0
    while at < len(text) and text[at] not in "= ":
        found = _STEP.match(text, at)
        if found is None or (at and found["name"] is not None and text[at] != "."):
            raise ValueError(f"--set {text!r}: a path is {PATH_RULE}")
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(found["name"] if found["name"] is not None else str(orjson.loads(found["quoted"])))
        at = found.end()
    equals, value = text[at:].lstrip()[:1], text[at:].lstrip()[1:].strip()
    if not steps or isinstance(steps[0], int) or equals != "=":
        raise ValueError(f"--set {text!r} must be PATH=JSON; a path is {PATH_RULE}")
    try:
        return Assignment(text, tuple(steps), orjson.loads(value))
    except orjson.JSONDecodeError:
        advice = _advice(_written(tuple(steps)), value)
        raise ValueError(f"--set {text!r}: {shorten(value)} is no JSON; {advice}") from None


def _advice(path: str, value: str) -> str:
    """What was meant instead of ``value``, which is no JSON."""
    if value.startswith("."):
        return "to take something from elsewhere in the request needs a function: --edit"
    try:
        listed: Any = orjson.loads(f"[{value}]")
    except orjson.JSONDecodeError:
        listed = None
    if listed:
        return f"a list needs its brackets: --set '{path}=[{value}]'"
    return f"a text needs its double quotes: --set '{path}={orjson.dumps(value).decode()}'"


def _written(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
