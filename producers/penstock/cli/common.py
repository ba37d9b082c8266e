"""Owns what commands share: reading settings from flags, and where their words go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from penstock.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that every command which speaks to a fleet understands; None: not given."""

    config: Path | None = None
    fleet: str | None = None
    bootstrap: str | None = None
    redis: str | None = None
    models: list[str] = field(default_factory=list[str])

    def nested(self) -> dict[str, Any]:
        """As sections of the settings. Raises CommandError for a model that is not NAME=PATH."""
        sections: dict[str, Any] = {}
        if self.fleet is not None:
            sections["fleet"] = self.fleet
        if self.bootstrap is not None:
            sections["kafka"] = {"bootstrap_servers": self.bootstrap}
        if self.redis is not None:
            sections["redis"] = {"url": self.redis}
        if self.models:
            sections["models"] = parse_models(self.models)
        return sections


def parse_models(texts: list[str]) -> dict[str, dict[str, str]]:
    """``NAME=PATH`` texts as the settings' ``models``. Raises CommandError."""
    models: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise CommandError(ExitCode.WRONG_USE, f"--model {text!r} must be NAME=PATH, such as digits=models/digits")
        if not Path(path).exists():
            raise CommandError(ExitCode.WRONG_USE, f"--model {text!r}: there is nothing at {path}")
        models[name] = {"path": str(Path(path).resolve())}
    return models


def read_settings(flags: Flags, **more: Any) -> Settings:
    """The settings from file, environment and flags; ``more`` are further flags, over ``flags``. Raises CommandError."""
    from penstock_schemas.settings import load_settings

    try:
        return load_settings(flags.config, **merge(flags.nested(), more))
    except FileNotFoundError as error:
        raise CommandError(ExitCode.WRONG_USE, str(error)) from error
    except ValueError as error:
        if type(error).__name__ == "TOMLDecodeError":
            name = flags.config or "penstock.toml"
            raise CommandError(ExitCode.WRONG_USE, f"{name} is no TOML: {error}") from error
        raise


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts, ``over`` winning."""
    merged = dict(base)
    for key, value in over.items():
        both = type(value) is dict and type(merged.get(key)) is dict
        merged[key] = merge(merged[key], cast("dict[str, Any]", value)) if both else value
    return merged


def printable(line: str) -> str:
    """A line without what would do something to a terminal: texts of jobs are anybody's."""
    return line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line)


def note(message: str) -> None:
    """Tell the person at the terminal something that is not the command's result."""
    typer.echo(message, err=True)
