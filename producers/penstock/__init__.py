"""What callers of a Penstock fleet install: `Client` and `AsyncClient` submit jobs and read their outcomes.

Importing this package loads nothing heavy; each name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.aio import AsyncClient, AsyncJob
    from penstock.client import Client, Job
    from penstock.errors import (
        ClientClosed,
        ClientForked,
        ClientUnusable,
        DeliveryFailed,
        FlushTimeout,
        InvalidJob,
        JobExpired,
        JobFailed,
        OutcomeError,
        PenstockError,
        QueueFull,
        ResultsUnavailable,
        ResultTimeout,
    )
    from penstock_schemas.outcomes import Outcome

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "ClientClosed",
    "ClientForked",
    "ClientUnusable",
    "DeliveryFailed",
    "FlushTimeout",
    "InvalidJob",
    "Job",
    "JobExpired",
    "JobFailed",
    "Outcome",
    "OutcomeError",
    "PenstockError",
    "QueueFull",
    "ResultTimeout",
    "ResultsUnavailable",
]

_ELSEWHERE = {
    "AsyncClient": "penstock.aio",
    "AsyncJob": "penstock.aio",
    "Client": "penstock.client",
    "Job": "penstock.client",
    "Outcome": "penstock_schemas.outcomes",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ELSEWHERE.get(name, "penstock.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
