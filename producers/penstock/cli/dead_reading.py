"""Owns `penstock dead list`, `show`, `stats`, `export` and `log`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
import typer

from penstock.cli.common import Flags, note, printable, read_settings
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.tables import Column, Step, Table, terminal_width
from penstock.dead.bodies import shown_lines
from penstock.dead.export import letter_line, write_file, write_folder, write_lines
from penstock.dead.histogram import Histogram, Sentences, counted
from penstock.dead.letters import Audit, DeadLetter, read_audit, read_record
from penstock.dead.marks import REDRIVEN, SEEN, Marks
from penstock.dead.reading import DeadTopic, NoDeadTopic
from penstock_schemas.headers import Header, rfc3339
from penstock_schemas.text import shorten

if TYPE_CHECKING:
    from penstock.dead.filters import Filter

Shown = TypeVar("Shown", str, tuple[str, ...])

MOST_SHOWN: Final = 100
"""Most letters that `show` keeps of one job."""
_NOTHING: Final = "no letter matches"
_DAY_AND_MINUTE: Final = slice(5, 16)
"""Of a time: where there is no room for all of it."""
_LETTERS: Final = Table(
    [Column("TIME", 20), Column("CODE", 17), Column("MODEL", 12), Column("ID", 32), Column("IDENTITY", 28), Column("ERROR")],
    [Step("IDENTITY", least=60), Step("TIME", _DAY_AND_MINUTE, least=40), Step("MODEL"), Step("TIME")],
)
_REDRIVES: Final = Table(
    [
        Column("TIME", 20),
        Column("BY", 20),
        Column("ID", 32),
        Column("GENERATION", 10, right=True),
        Column("IDENTITY", 28),
        Column("REASON"),
    ],
    [Step("IDENTITY"), Step("TIME", _DAY_AND_MINUTE), Step("GENERATION")],
)
_SENTENCES: Final = Table([Column("LETTERS", 9, right=True), Column("CODE", 17), Column("MODEL", 12), Column("ERROR")])


def list_letters(flags: Flags, chosen: Filter, *, limit: int | None, newest: int | None, as_json: bool) -> None:
    """Print a line for each letter. Raises CommandError (3) where there is none."""
    with opened(flags) as topic:
        letters = islice(letters_once(topic, chosen), limit)
        if as_json:
            lines = _newest(letters, newest, lambda letter: orjson.dumps(letter.document()).decode())
        else:
            lines = _LETTERS.lines(_newest(letters, newest, _cells), terminal_width())
        _print(lines, _NOTHING, headed=not as_json)


def count_letters(flags: Flags, chosen: Filter, *, by_error: bool, as_json: bool) -> None:
    """Print how many there are, by hour or by sentence. Raises CommandError (3) where no letter matches."""
    counts = Sentences() if by_error else Histogram()
    with opened(flags) as topic:
        for letter in letters_once(topic, chosen):
            counts.add(letter)
    if as_json:
        typer.echo(orjson.dumps(counts.document()).decode())
    elif isinstance(counts, Sentences):
        _print(_SENTENCES.lines(counts.rows(), terminal_width()), _NOTHING, headed=True)
        typer.echo(f"{counted(counts.letters, 'letter')} in all")
    elif counts.letters:
        typer.echo("\n".join(map(printable, counts.lines())))
    if not counts.letters:
        raise CommandError(ExitCode.NOT_THERE, _NOTHING)


def export_letters(flags: Flags, chosen: Filter, output: str, *, limit: int | None) -> None:
    """Write letters where ``output`` says. Raises CommandError: 3 where there is none, 2 where it cannot be written."""
    path = Path(output)
    with opened(flags) as topic:
        letters = islice(letters_once(topic, chosen), limit)
        try:
            if output == "-":
                count = write_lines(letters, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            elif output.endswith("/") or path.is_dir():
                count = write_folder(letters, path)
            else:
                count = write_file(letters, path)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(ExitCode.WRONG_USE, f"--output {output}: {error.strerror or error}") from error
    if not count:
        raise CommandError(ExitCode.NOT_THERE, _NOTHING)
    note(f"{counted(count, 'letter')} written" if output == "-" else f"{counted(count, 'letter')} written to {output}")


def list_redrives(flags: Flags, chosen: Filter, *, limit: int | None, as_json: bool) -> None:
    """Print a line for each redrive of a letter. Raises CommandError (3) where there is none."""
    with opened(flags) as topic:
        audits = islice(_audits(topic, chosen), limit)
        lines: Iterator[str]
        if as_json:
            lines = (orjson.dumps(audit.document()).decode() for audit in audits)
        else:
            lines = _REDRIVES.lines(map(_audit_cells, audits), terminal_width())
        _print(lines, "no letter was redriven", headed=not as_json)


def show_letters(flags: Flags, name: str, *, raw: bool, as_json: bool) -> None:
    """Print all about the letters of a job, or of one identity. Raises CommandError (3) where there is none."""
    with opened(flags) as topic:
        found, audits = _find(topic, name)
    if not found:
        raise CommandError(ExitCode.NOT_THERE, f"there is no letter of a job {name}, nor one of that identity")
    if raw:
        _write_raw(list(found.values()), name)
        return
    for number, letter in enumerate(found.values()):
        mine = [audit for audit in audits if audit.identity == letter.identity]
        if as_json:
            line: dict[str, Any] = orjson.loads(letter_line(letter))
            typer.echo(orjson.dumps({**line, "redriven": [audit.document() for audit in mine]}).decode())
        else:
            typer.echo("\n" * bool(number) + "\n".join(map(printable, _described(letter, mine))))


@contextmanager
def opened(flags: Flags) -> Generator[DeadTopic]:
    """The dead-letter topic that the flags mean. Raises CommandError (3) where it is not there."""
    try:
        with DeadTopic(read_settings(flags)) as topic:
            yield topic
            note_withheld(topic)
    except NoDeadTopic as error:
        raise CommandError(ExitCode.NOT_THERE, str(error)) from error


def note_withheld(topic: DeadTopic) -> None:
    """Say so where not all could be read."""
    if topic.withheld:
        note(f"{counted(topic.withheld, 'record')} cannot be read yet: a redrive is under way, or was killed just now")


def letters_once(topic: DeadTopic, chosen: Filter) -> Iterator[DeadLetter]:
    """The letters chosen, each once: what a redelivered job has written twice is one letter."""
    marks = Marks()
    if chosen.redriven is not None:
        topic.mark_redriven(marks, chosen.since_ms)
    for letter in topic.letters(chosen):
        if chosen.redriven is not None and bool(marks.of(letter.job) & REDRIVEN) is not chosen.redriven:
            continue
        if marks.put(letter.identity, SEEN):
            yield letter


def _audits(topic: DeadTopic, chosen: Filter) -> Iterator[Audit]:
    for record in topic.records(chosen.since_ms):
        audit = read_audit(record)
        if audit is not None and chosen.matches_redrive(audit):
            yield audit


def _find(topic: DeadTopic, name: str) -> tuple[dict[str, DeadLetter], list[Audit]]:
    """Letters by identity, the latest MOST_SHOWN, and the records of their redrives (which follow them in their partition)."""
    found: dict[str, DeadLetter] = {}
    audits: list[Audit] = []
    for record in topic.records():
        one = read_record(record)
        if isinstance(one, Audit):
            if one.identity in found:
                audits.append(one)
        elif name in (one.id, one.identity, one.facts.origin):
            found.setdefault(one.identity, one)
            if len(found) > MOST_SHOWN:
                del found[next(iter(found))]
    return found, audits


def _write_raw(letters: list[DeadLetter], name: str) -> None:
    if len(letters) > 1:
        which = ", ".join(letter.identity for letter in letters)
        raise CommandError(ExitCode.WRONG_USE, f"there are {len(letters)} letters of {name}: name one of {which}")
    if not letters[0].has_body:
        raise CommandError(ExitCode.NOT_THERE, f"the letter of {name} holds no body")
    sys.stdout.buffer.write(letters[0].body or b"")
    sys.stdout.buffer.flush()


def _newest(letters: Iterable[DeadLetter], number: int | None, shown: Callable[[DeadLetter], Shown]) -> Iterator[Shown]:
    """How the newest ``number`` of them (None: all) are shown, oldest first. Holds no letters, whose bodies may be large."""
    if number is None:
        return map(shown, letters)
    timed = ((letter.record.timestamp_ms, place, shown(letter)) for place, letter in enumerate(letters))
    return (one for _, _, one in reversed(nlargest(number, timed)))


def _print(lines: Iterator[str], nothing: str, *, headed: bool) -> None:
    """Print lines as they come, the first in bold where it is a head. Raises CommandError (3) where there is none."""
    first = next(lines, None)
    if first is None:
        raise CommandError(ExitCode.NOT_THERE, nothing)
    typer.echo(typer.style(first, bold=True) if headed and sys.stdout.isatty() else first)
    for line in lines:
        typer.echo(line)


def _cells(letter: DeadLetter) -> tuple[str, ...]:
    facts = letter.facts
    time = facts.time or rfc3339(letter.record.timestamp_ms)
    return f"{time[:19]}Z", letter.code, facts.model or "-", letter.id or "-", letter.identity, facts.error or ""


def _audit_cells(audit: Audit) -> tuple[str, ...]:
    time = f"{(audit.time or '')[:19]}Z"
    return time, audit.by or "-", audit.id or "-", str(audit.generation or ""), audit.identity, audit.reason or ""


def _described(letter: DeadLetter, audits: list[Audit]) -> list[str]:
    document = letter.document()
    failures, evidence = document.pop("failures", []), document.pop("evidence", None)
    lines = [f"{key.replace('_', ' '):<20}{value}" for key, value in document.items()]
    if failures:
        lines.append("failed tries")
        lines += [f"  {_failure(failure)}" for failure in failures]
    if evidence:
        lines += ["evidence", *(f"  {line}" for line in str(evidence).splitlines())]
    if letter.own:
        lines += ["the job's own headers", *(f"  {_header(header)}" for header in letter.own)]
    if not letter.is_gap:
        lines += ["body", *(f"  {line}" for line in _body(letter))]
    if audits:
        lines.append("redriven")
        lines += [f"  {_told(audit)}" for audit in audits]
    return lines


def _told(audit: Audit) -> str:
    why = f": {audit.reason}" if audit.reason else ""
    return f"{audit.time} by {audit.by}, as generation {audit.generation}{why}"


def _failure(failure: dict[str, Any]) -> str:
    served = " ".join(str(failure[key]) for key in ("model", "version") if failure.get(key))
    where = ", ".join(part for part in (served, str(failure.get("worker") or "")) if part)
    return f"{failure.get('time')}  attempt {failure.get('attempt')}  {failure.get('code')}  ({where})  {failure.get('error')}"


def _header(header: Header) -> str:
    name, value = header
    return f"{name}: {'null' if value is None else shorten(value, 200)}"


def _body(letter: DeadLetter) -> list[str]:
    if not letter.has_body:
        return [f"not kept: it had {letter.size:,} bytes, SHA-256 {letter.facts.digest}"]
    return shown_lines(letter.body, letter.own)
