"""Owns `penstock schema`."""

from __future__ import annotations

from typing import Any

import orjson
import typer


def print_schema(document: str) -> None:
    """Print the JSON Schema of a ``job`` or an ``outcome``, or the ``asyncapi`` document."""
    from penstock_schemas import documents

    made: Any = documents.documents()[document]
    typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
