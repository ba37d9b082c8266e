"""Owns mending a letter's body before its job is sent again: assignments, the operator's own function, and the check after."""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penstock.dead.bodies import Body, BodyUnreadable, split_body, without_length
from penstock.dead.letters import DeadLetter
from penstock.dead.paths import Assignment, PathMisses
from penstock_schemas.dead import LetterFacts
from penstock_schemas.errors import JobError
from penstock_schemas.headers import Header
from penstock_schemas.jobs import JobDecoder, Records
from penstock_schemas.limits import Limits

HOOK: Final = "edit"


class EditableLetter:
    """What the operator's ``edit(letter)`` gets: the letter, and help with its body."""

    def __init__(self, letter: DeadLetter, value: bytes | None) -> None:
        self.id = letter.id
        self.identity = letter.identity
        self.facts: LetterFacts = letter.facts
        """Everything that the letter says: error_code, error, model, model_version, generation, attempt, failures, …"""
        self.headers: list[Header] = list(letter.own)
        """The job's own headers."""
        self.value = value or b""
        """The job's body."""

    def document(self) -> dict[str, Any]:
        """The JSON of the body, to be changed and given to `replaced`. Raises BodyUnreadable."""
        return split_body(self.value, self.headers).document

    def raw(self) -> bytes:
        """The raw tensors behind the JSON. Raises BodyUnreadable."""
        return split_body(self.value, self.headers).raw

    def replaced(self, document: dict[str, Any], raw: bytes | None = None) -> bytes:
        """The body with this JSON in place of its own, and its raw tensors as they are unless ``raw`` is given."""
        return Body(document, self.raw() if raw is None else raw).encode()


Hook = Callable[[EditableLetter], bytes | None]


@dataclass(frozen=True, slots=True)
class Mended:
    """What is to be sent.

    ``changed``: whether it is other bytes than the letter's; then no length header is kept. ``new``: paths of the fields that
    were set and had not been there.
    """

    value: bytes | None
    headers: list[Header]
    changed: bool = False
    new: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotMended:
    """Why there is nothing to send. ``dropped``: the operator's function said to leave the letter alone."""

    message: str
    dropped: bool = False


class Mender:
    """Assignments in their order, then the operator's function."""

    def __init__(self, assignments: Sequence[Assignment] = (), hook: Hook | None = None) -> None:
        self._assignments = list(assignments)
        self._hook = hook

    def mend(self, letter: DeadLetter) -> Mended | NotMended:
        """The letter's body, mended. Never raises: a function that does is a reason."""
        value, own = letter.body, list(letter.own)
        new: tuple[str, ...] = ()
        if self._assignments:
            try:
                body = split_body(value, own)
                new = tuple(assignment.path for assignment in self._assignments if assignment.apply(body.document))
            except (BodyUnreadable, PathMisses) as error:
                return NotMended(str(error))
            value, own = body.encode(), without_length(own)
        if self._hook is not None:
            edited = self._call(self._hook, letter, value, own)
            if isinstance(edited, NotMended):
                return edited
            value = edited
        if (value or b"") == (letter.body or b""):
            return Mended(letter.body, list(letter.own))
        return Mended(value, without_length(own), changed=True, new=new)

    def _call(self, hook: Hook, letter: DeadLetter, value: bytes | None, own: list[Header]) -> bytes | NotMended:
        editable = EditableLetter(letter, value)
        editable.headers = own
        try:
            edited: object = hook(editable)
        except Exception as error:  # noqa: BLE001 - it is the operator's own code, and one letter must not end the others' way
            return NotMended(f"{HOOK} raised {type(error).__name__}: {error}{_where(error)}")
        if edited is None:
            return NotMended(f"{HOOK} returned None", dropped=True)
        if not isinstance(edited, bytes):
            right = "the body as bytes, which letter.replaced(request) makes, or None"
            return NotMended(f"{HOOK} returned {type(edited).__name__}; it must return {right}")
        return edited


def _where(error: Exception) -> str:
    """The line of the operator's file that ``error`` came from, or passed through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    mine = [frame for frame in frames if frame.name == HOOK] or frames
    return f" (line {mine[0].lineno} of {Path(mine[0].filename).name})" if mine else ""


class Checker:
    """Holds mended bodies against the contract, as a worker will."""

    def __init__(self, limits: Limits) -> None:
        self._decoder = JobDecoder(limits)

    def problem(self, value: bytes | None, key: bytes, headers: Sequence[Header]) -> JobError | None:
        """What is wrong with a job of these bytes; None where the contract takes it. Whether a model does, it cannot know."""
        records = Records.of([value], keys=[key], headers={0: headers})
        decoded = self._decoder.decode(records, now_ms=0)
        return decoded.errors[0][1] if decoded.errors else None


def load_hook(path: Path) -> Hook:
    """The function ``edit`` of a Python file. Raises ValueError that says what is wrong with the file."""
    spec = importlib.util.spec_from_file_location("penstock_edit", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--edit {path}: it must be a Python file (its name ends with .py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"--edit {path} cannot be loaded: {type(error).__name__}: {error}") from error
    hook = getattr(module, HOOK, None)
    if not callable(hook):
        message = f"--edit {path} must define a function {HOOK}(letter) that returns the body as bytes, or None"
        raise ValueError(message)  # noqa: TRY004 - what is wrong is the file
    if inspect.iscoroutinefunction(hook):
        raise ValueError(f"--edit {path}: {HOOK} must be a plain function, not an async one")
    return hook  # type: ignore[no-any-return]  # what it takes and returns is looked at when it is called
