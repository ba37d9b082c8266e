"""Owns `penstock schema`."""

from __future__ import annotations

import typer

from penstock_schemas.documents import asyncapi_document, job_schema, outcome_schema, render


def print_schema(document: str) -> None:
    """Print the JSON Schema of a ``job`` or an ``outcome``, or the ``asyncapi`` document."""
    makers = {"job": job_schema, "outcome": outcome_schema, "asyncapi": asyncapi_document}
    typer.echo(render(makers[document]()), nl=False)
