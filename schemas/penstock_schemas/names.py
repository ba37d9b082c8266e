"""Owns the names under which a fleet's topics, groups and Redis keys are found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

FLEET_PATTERN: Final = re.compile(r"[a-z0-9-]{1,32}")
QUEUE_PATTERN: Final = re.compile(r"[a-z0-9-]{1,32}")
CLIENT_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

TIER_REGEX: Final = r"[1-9][0-9]{0,4}[smh]"
DEFAULT_TIERS: Final = ("10s", "1m", "10m")
"""Retry tiers in order: each is its topic's suffix, and says its delay."""

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def tier_seconds(tier: str) -> float:
    """The delay of a retry tier, in seconds: ``10s``, ``1m`` and ``2h`` are 10, 60 and 7200."""
    return int(tier[:-1]) * _UNITS[tier[-1]]


@dataclass(frozen=True, slots=True)
class Names:
    """All names of one fleet. Raises ValueError where the fleet's own name is not allowed."""

    fleet: str = "penstock"

    def __post_init__(self) -> None:
        if not FLEET_PATTERN.fullmatch(self.fleet):
            raise ValueError(f"fleet {self.fleet!r} is not allowed: 1 to 32 of a-z, 0-9 and -")

    def jobs(self, queue: str = "") -> str:
        """The jobs topic, or that of a named queue."""
        return f"{self.fleet}.jobs.{queue}" if queue else f"{self.fleet}.jobs"

    def retry(self, tier: str) -> str:
        return f"{self.fleet}.retry.{tier}"

    @property
    def outcomes(self) -> str:
        return f"{self.fleet}.outcomes"

    @property
    def dead(self) -> str:
        return f"{self.fleet}.dead"

    @property
    def workers_group(self) -> str:
        return f"{self.fleet}.workers"

    @property
    def projector_group(self) -> str:
        return f"{self.fleet}.projector"

    @property
    def result_prefix(self) -> str:
        """What stands before a job id in the Redis key of its result."""
        return f"{self.fleet}:result:"

    def result_key(self, job_id: str) -> str:
        return f"{self.fleet}:result:{job_id}"

    def wake_channel(self, client_id: str) -> str:
        """The Redis channel on which one client is told of results that are there."""
        return f"{self.fleet}:wake:{client_id}"

    def position_key(self, partition: int) -> str:
        """The Redis key of the projector's position in one partition of the outcomes topic."""
        return f"{self.fleet}:position:{partition}"
