"""Owns what can go wrong while local services are looked for and started."""

from __future__ import annotations


class LocalError(Exception):
    """A local service could not be started; the message says what is wrong and what would be right."""


class LocalMissing(LocalError):
    """What a local service needs is not on this machine; the message names it and the line that installs it."""
