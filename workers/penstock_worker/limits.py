"""Owns the way from the settings' limits to the decoder's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_schemas.limits import Limits

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """What one job is held against, by these settings."""
    return Limits(record_bytes=settings.topics.max_job_bytes, **settings.limits.model_dump())
