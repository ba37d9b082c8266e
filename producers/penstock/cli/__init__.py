"""Owns the command line. ``main`` is the program `penstock`; what a command needs is imported when it runs."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code (see :class:`penstock.cli.exits.ExitCode`)."""
    from penstock.cli.app import app

    app(prog_name="penstock")
