"""Owns the command line. ``main`` is the program `penstock`; what a command needs is imported when it runs."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code (see :class:`penstock.cli.exits.ExitCode`)."""
    try:
        from penstock.cli.app import app

        app(prog_name="penstock")
    except KeyboardInterrupt:  # before a command had begun: it would have told the same
        raise SystemExit(130) from None
