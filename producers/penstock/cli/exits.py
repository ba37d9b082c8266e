"""Owns the exit codes, and which error ends a command with which of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError


class ExitCode(IntEnum):
    """What the exit code of every command says. Part of the public interface."""

    FINE = 0
    JOB_FAILED = 1
    """The job failed or expired."""
    WRONG_USE = 2
    """Wrong arguments, input or configuration."""
    NOT_THERE = 3
    """What was asked for is not there, or not there yet."""
    UNREACHABLE = 4
    """A service cannot be reached or started."""


EXIT_CODES_HELP: Final = (
    "Exit codes: 0 fine; 1 the job failed or expired; 2 wrong use; 3 not there (yet); 4 a service cannot be reached."
)


class CommandError(Exception):
    """Ends a command with ``code``; the message says what is wrong and what would be right."""

    def __init__(self, code: ExitCode, message: str) -> None:
        self.code = code
        super().__init__(message)


class Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


@contextlib.contextmanager
def told_errors() -> Generator[None]:
    """Turn the errors that a command is expected to meet into one line on stderr and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Interrupted as signal:
        raise typer.Exit(128 + signal.number) from None
    except BrokenPipeError:  # the reader of our output went away, `penstock … | head` say
        sys.stderr.close()
        raise typer.Exit(0) from None
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        code, message = told
        typer.echo(f"penstock: {message}", err=True)
        raise typer.Exit(int(code)) from error


def _told(error: Exception) -> tuple[ExitCode, str] | None:
    """The exit code and message for an error; None for a bug of ours, whose traceback is wanted."""
    if isinstance(error, CommandError):
        return error.code, str(error)
    if type(error).__name__ == "ValidationError" and "pydantic" in sys.modules:
        return ExitCode.WRONG_USE, _settings_message(error)  # type: ignore[arg-type]  # told by its name: pydantic may not be loaded
    from penstock.errors import (
        DeliveryFailed,
        FlushTimeout,
        InvalidJob,
        OutcomeError,
        QueueFull,
        ResultsUnavailable,
        ResultTimeout,
    )
    from penstock.local.errors import LocalError

    codes: list[tuple[type[Exception], ExitCode]] = [
        (OutcomeError, ExitCode.JOB_FAILED),
        (InvalidJob, ExitCode.WRONG_USE),
        (ResultTimeout, ExitCode.NOT_THERE),
        (DeliveryFailed, ExitCode.UNREACHABLE),
        (FlushTimeout, ExitCode.UNREACHABLE),
        (QueueFull, ExitCode.UNREACHABLE),
        (ResultsUnavailable, ExitCode.UNREACHABLE),
        (LocalError, ExitCode.UNREACHABLE),
    ]
    if "penstock.topics" in sys.modules:
        from penstock.topics import KafkaUnreachable, TopicRefused

        codes += [(KafkaUnreachable, ExitCode.UNREACHABLE), (TopicRefused, ExitCode.UNREACHABLE)]
    return next(((code, str(error)) for kind, code in codes if isinstance(error, kind)), None)


def _settings_message(error: ValidationError) -> str:
    """Key, value and what is allowed, a line each."""
    lines = ["the configuration is wrong:"]
    for one in error.errors(include_url=False):
        key = ".".join(str(part) for part in one["loc"])
        value = "" if one["type"] in ("extra_forbidden", "missing", "value_error") else f" (it is {one['input']!r})"
        allowed = "there is no such key" if one["type"] == "extra_forbidden" else one["msg"].removeprefix("Value error, ")
        lines.append(f"  {key}: {allowed}{value}" if key else f"  {allowed}")
    return "\n".join(lines)
