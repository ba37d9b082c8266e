"""Owns the one decision on a failed job: whether it is tried again, when, and what that costs it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from penstock_schemas.errors import ErrorCode
from penstock_schemas.names import tier_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock_schemas.retries import Tries
    from penstock_schemas.settings import Settings

TRANSIENT: Final = frozenset(
    {ErrorCode.ENGINE_CRASH, ErrorCode.ENGINE_TIMEOUT, ErrorCode.OUT_OF_MEMORY, ErrorCode.TRANSFORM_RETRY}
)
"""What may pass: it costs an attempt, and the job is tried again."""
MOST_KILLS: Final = 2
"""A job that kills an engine, and has then killed so many while it ran alone, is not tried again."""


class Killed(Enum):
    """What died while a job ran alone."""

    NOTHING = 0
    ENGINE = 1
    """The job did it: its worker lived to see that."""
    WORKER = 2
    """The job did it, or something outside, at just that moment: it has all its tries, but always by itself from now on."""


@dataclass(frozen=True, slots=True)
class Again:
    """A job is tried again: on which tier's topic it waits, and what its record then says of its tries."""

    tier: str
    tries: Tries


@dataclass(frozen=True, slots=True)
class _Rule:
    """One model's: how many tries a job has, and the tier (by number) of the first retry."""

    attempts: int
    first: int


class Policy:
    """The fleet's rules for retries, as the settings have them."""

    def __init__(self, settings: Settings) -> None:
        retry = settings.retry
        self._tiers: Sequence[str] = retry.tiers
        self._delays = [tier_seconds(tier) for tier in retry.tiers]
        self._usual = _Rule(retry.attempts, 0)
        self._rules: Mapping[str, _Rule] = {
            name: _Rule(model.attempts or retry.attempts, self._tiers.index(model.first_tier) if model.first_tier else 0)
            for name, model in settings.models.items()
        }
        self._graces = {
            ErrorCode.UNKNOWN_VERSION: retry.model_grace,
            ErrorCode.MODEL_UNAVAILABLE: retry.breaker_grace,
        }

    def decide(
        self, code: ErrorCode, tries: Tries, model: str | None, *, killed: Killed, deadline_ms: int | None, now_ms: float
    ) -> Again | None:
        """What becomes of a job that failed with ``code``; None: it ends now.

        ``tries`` is what was known when it was tried, its failed try among it. ``deadline_ms`` and ``now_ms`` are Unix ms by
        the broker's clock.
        """
        rule = self._rules.get(model or "", self._usual)
        kills = tries.kills + (killed is not Killed.NOTHING)
        convicted = killed is Killed.ENGINE and kills >= MOST_KILLS
        if code in self._graces:
            if tries.waited >= self._graces[code]:
                return None
            number = len(self._delays) - 1 if code is ErrorCode.MODEL_UNAVAILABLE else self._patience(tries.waited, rule)
            after = replace(tries, waited=tries.waited + self._delays[number])
        elif code in TRANSIENT and tries.attempt < rule.attempts and not convicted:
            number = min(rule.first + tries.attempt - 1, len(self._delays) - 1)
            after = replace(tries, attempt=tries.attempt + 1)
        else:
            return None
        if deadline_ms is not None and now_ms + self._delays[number] * 1000 > deadline_ms:
            return None  # it would only expire there
        return Again(self._tiers[number], replace(after, kills=kills))

    def seconds(self, tier: str) -> float:
        """The delay of a tier."""
        return self._delays[self._tiers.index(tier)]

    def _patience(self, waited: float, rule: _Rule) -> int:
        """The longest tier that at most doubles what a job has waited, from the model's first one on."""
        fitting = [number for number, delay in enumerate(self._delays) if delay <= waited]
        return max([rule.first, *fitting])
