"""Owns the limits that a worker holds jobs and outcomes against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.limits import Limits

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """What one job is held against, by these settings."""
    return Limits(record_bytes=settings.topics.max_job_bytes, **settings.limits.model_dump())


def too_large_error(size: int, limit: int | None) -> JobError:
    """Why an outcome of ``size`` bytes cannot be published; ``limit`` where it is known."""
    room = "less" if limit is None else f"{limit}"
    return JobError(
        ErrorCode.OUTCOME_TOO_LARGE,
        f"the outcome takes {size} bytes and the outcomes topic {room}: ask for fewer outputs "
        "or raise topics.max_outcome_bytes",
    )
