"""Owns `penstock topics show` and `apply`."""

from __future__ import annotations

from typing import Final

import typer

from penstock.cli.common import Flags, note, read_settings
from penstock.cli.exits import CommandError, ExitCode
from penstock.topics import TopicManager
from penstock_schemas.settings import Settings
from penstock_schemas.topics import Difference, WantedTopic

_TIMEOUT: Final = 5.0
"""How long the cluster may take to answer, in seconds."""


def show_topics(flags: Flags) -> None:
    """Print each topic as it should be, then what differs. Raises CommandError (3) where something does."""
    manager = _manager(read_settings(flags))
    for topic in manager.wanted():
        typer.echo(_described(topic))
    found = manager.differences()
    if found:
        typer.echo()
        _print(found)
        raise CommandError(
            ExitCode.NOT_THERE, "the topics are not as they should be; `penstock topics apply` mends what can be"
        )
    typer.echo("\nthe cluster has all of them, as they should be")


def apply_topics(flags: Flags, *, yes: bool) -> None:
    """Show what differs, then mend it. Asks before it changes a topic that exists, unless ``yes``."""
    manager = _manager(read_settings(flags))
    found = manager.differences()
    if not found:
        typer.echo("the topics are as they should be")
        return
    _print(found)
    changes = [one for one in found if one.key != "topic" and one.fixable]
    if changes and not yes and not typer.confirm("Change existing topics as listed?"):
        raise CommandError(ExitCode.WRONG_USE, "nothing was changed")
    left = manager.apply(found)
    if left:
        typer.echo("\nleft as it is:")
        _print(left)
        raise CommandError(ExitCode.NOT_THERE, f"{len(left)} differences are left; each line says what to do")
    typer.echo("done: the topics are as they should be")


def _manager(settings: Settings) -> TopicManager:
    if settings.kafka.embedded:
        raise CommandError(ExitCode.WRONG_USE, "the embedded broker makes topics on first use and has no settings for them")
    note(f"Kafka at {settings.kafka.bootstrap_servers}, fleet {settings.fleet}")
    return TopicManager(settings, timeout=_TIMEOUT)


def _described(topic: WantedTopic) -> str:
    settings = " ".join(f"{key}={value}" for key, value in sorted(topic.config.items()))
    return f"{topic.name}  partitions={topic.partitions} replication={topic.replication} {settings}"


def _print(found: list[Difference]) -> None:
    for one in found:
        typer.echo(f"  {one}")
