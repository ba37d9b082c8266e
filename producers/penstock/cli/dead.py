"""Owns `penstock dead …` as users see it: its commands, their flags, their help. What they do is in the modules beside this.

Like `penstock.cli.app`, this module loads nothing but typer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli.common import Flags
from penstock.cli.exits import EXIT_CODES_HELP, CommandError, ExitCode, told_errors

if TYPE_CHECKING:
    from penstock.dead.filters import Filter

dead_app = typer.Typer(
    help="Look at dead letters, mend them, and send their jobs again.", epilog=EXIT_CODES_HELP, no_args_is_help=True
)

MOST_REASON: Final = 500
"""Most characters of --reason."""

Models = Annotated[list[str] | None, typer.Option("--model", metavar="NAME", help="Only of this model; may be repeated.")]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Only with this error code, or gap; may be repeated.")]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Only of this job; may be repeated.")]
Since = Annotated[str | None, typer.Option(metavar="WHEN", help="Only from then on: RFC 3339, or an age such as 15m, 2h, 3d.")]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Only before then; as --since.")]
Text = Annotated[str | None, typer.Option(help="Only with this text in error, id or origin.")]
Redriven = Annotated[
    bool | None, typer.Option("--redriven/--not-redriven", help="Only those redriven before, or only those not.")
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="No more than so many.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Config = Annotated[Path | None, typer.Option(help="Configuration file; default: penstock.toml here, where there is one.")]
Fleet = Annotated[str | None, typer.Option(help="The fleet's name.")]
Bootstrap = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Kafka brokers to start from.")]
Redis = Annotated[str | None, typer.Option(metavar="URL", help="Where Redis is.")]


class By(StrEnum):
    """What `stats --by` accepts."""

    HOUR = "hour"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class RedriveFlags:
    """The flags that `penstock dead redrive` alone has."""

    execute: bool
    rate: str | None
    limit: int | None
    edit: Path | None
    assignments: list[str]
    deadline: str | None
    max_generation: int
    again: bool
    force: bool
    unchecked: bool
    reason: str

    def record(self) -> str:
        """What is kept of this redrive with each letter: the reason, and what was done to bodies."""
        done = [f"--set {text}" for text in self.assignments] + ([] if self.edit is None else [f"--edit {self.edit.name}"])
        what = ", ".join(done)
        text = f"{self.reason} ({what})" if self.reason and what else self.reason or what
        return text if len(text) <= MOST_REASON else f"{text[: MOST_REASON - 1]}…"

    def check(self, *, dry_run: bool) -> None:
        """Raise CommandError for flags that contradict each other, or a reason that is too long to keep."""
        if self.execute and dry_run:
            raise CommandError(ExitCode.WRONG_USE, "--yes sends and --dry-run does not: give one of them")
        if len(self.reason) > MOST_REASON:
            raise CommandError(ExitCode.WRONG_USE, f"--reason has {len(self.reason):,} characters; it may have {MOST_REASON}")


@dead_app.command("list")
def list_command(
    model: Models = None,
    code: Codes = None,
    job_id: Ids = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    redriven: Redriven = None,
    limit: Limit = None,
    newest: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the newest N of them.")] = None,
    as_json: AsJson = False,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
) -> None:
    """List letters, oldest first: one line each. On a terminal, columns that do not fit are left out."""
    with told_errors():
        from penstock.cli.dead_reading import list_letters

        if limit is not None and newest is not None:
            raise CommandError(
                ExitCode.WRONG_USE, "--limit counts from the oldest and --newest from the newest: give one of them"
            )
        chosen = _filter(model, code, job_id, since, until, text, redriven)
        list_letters(Flags(config, fleet, bootstrap), chosen, limit=limit, newest=newest, as_json=as_json)


@dead_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A job's id, or one letter's identity as `list` prints it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the body's bytes to stdout, and nothing else.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Show everything about a job's letters: each failed try, evidence, headers, body, and whether it was redriven."""
    with told_errors():
        from penstock.cli.dead_reading import show_letters

        show_letters(Flags(config, fleet, bootstrap), name, raw=raw, as_json=as_json)


@dead_app.command()
def stats(
    model: Models = None,
    code: Codes = None,
    job_id: Ids = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    redriven: Redriven = None,
    by: Annotated[By, typer.Option(help="By model, code and hour, or by model, code and error sentence.")] = By.HOUR,
    as_json: AsJson = False,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Count letters by model, code and hour, or by what their errors say."""
    with told_errors():
        from penstock.cli.dead_reading import count_letters

        chosen = _filter(model, code, job_id, since, until, text, redriven)
        count_letters(Flags(config, fleet, bootstrap), chosen, by_error=by is By.ERROR, as_json=as_json)


@dead_app.command()
def export(
    output: Annotated[
        str, typer.Option(metavar="PATH", help="A new file for JSON lines, - for stdout, or a folder (there, or ending in /).")
    ],
    model: Models = None,
    code: Codes = None,
    job_id: Ids = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    redriven: Redriven = None,
    limit: Limit = None,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Write letters with their bodies and headers to a file, or to a folder with two files each."""
    with told_errors():
        from penstock.cli.dead_reading import export_letters

        chosen = _filter(model, code, job_id, since, until, text, redriven)
        export_letters(Flags(config, fleet, bootstrap), chosen, output, limit=limit)


@dead_app.command()
def log(
    model: Models = None,
    job_id: Ids = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: AsJson = False,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
) -> None:
    """List who redrove which letter, when and why."""
    with told_errors():
        from penstock.cli.dead_reading import list_redrives

        chosen = _filter(model, None, job_id, since, until, None, None)
        list_redrives(Flags(config, fleet, bootstrap), chosen, limit=limit, as_json=as_json)


@dead_app.command()
def redrive(
    model: Models = None,
    code: Codes = None,
    job_id: Ids = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    redriven: Redriven = None,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "--execute", "-y", help="Send. Without it, say what would be sent.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, as without --yes.")] = False,
    rate: Annotated[str | None, typer.Option(metavar="N/s", help="No faster than that, such as 50/s or 100/m.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=JSON", help="Set this in each request first; may be repeated."),
    ] = None,
    edit: Annotated[
        Path | None, typer.Option(metavar="FILE.py", help="Let its function edit(letter) mend each body, after --set.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="none|SECONDS", help="Take deadlines away, or renew them, counted from now.")
    ] = None,
    max_generation: Annotated[int, typer.Option(min=1, help="Leave letters of jobs that came back so many times.")] = 3,
    again: Annotated[bool, typer.Option("--again", help="Also what was redriven before.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what is no valid job when mended.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Do not ask Redis what became of the job since.")] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why: kept on record, and shown by `log`.")] = "",
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
    redis: Redis = None,
) -> None:
    """Send letters' jobs again, each as the next generation of its id. Says what it would do, unless --yes is given."""
    with told_errors():
        from penstock.cli.dead_redrive import redrive_letters

        chosen = _filter(model, code, job_id, since, until, text, redriven)
        sets = assignments or []
        flags = RedriveFlags(yes, rate, limit, edit, sets, deadline, max_generation, again, force, unchecked, reason)
        flags.check(dry_run=dry_run)
        redrive_letters(Flags(config, fleet, bootstrap, redis), chosen, flags)


def _filter(
    models: list[str] | None,
    codes: list[str] | None,
    ids: list[str] | None,
    since: str | None,
    until: str | None,
    text: str | None,
    redriven: bool | None,
) -> Filter:
    """What the flags choose. Raises CommandError for a code or a moment that is none."""
    from penstock.dead.filters import Filter, parse_moment
    from penstock.dead.letters import GAP_CODE
    from penstock_schemas.errors import ErrorCode

    known = [*(str(code) for code in ErrorCode), GAP_CODE]
    for code in codes or []:
        if code not in known:
            raise CommandError(ExitCode.WRONG_USE, f"--code {code!r} is none of {', '.join(known)}")
    now_ms = time.time_ns() // 1_000_000
    try:
        since_ms, until_ms = (None if when is None else parse_moment(when, now_ms) for when in (since, until))
    except ValueError as error:
        raise CommandError(ExitCode.WRONG_USE, str(error)) from error
    return Filter(frozenset(models or ()), frozenset(codes or ()), frozenset(ids or ()), since_ms, until_ms, text, redriven)
