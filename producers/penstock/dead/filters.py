"""Owns which letters are meant: by model, code, time, text, id, and whether they were redriven."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock.dead.letters import Audit, DeadLetter
from penstock_schemas.headers import parse_rfc3339

MOMENT_RULE: Final = "RFC 3339, such as 2026-01-31T12:00:00Z, or an age such as 90s, 15m, 2h or 3d"
_AGE: Final = re.compile(r"([0-9]{1,6})([smhdw])(?: ago)?", re.ASCII)
_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@dataclass(frozen=True, slots=True)
class Filter:
    """What a letter must be; whatever is not given does not matter. Of several models, codes or ids any one will do.

    Times are Unix ms, held against the letter's LogAppendTime: from ``since_ms``, before ``until_ms``. ``text`` is looked
    for in error, id and origin, in any case. ``redriven`` is for who reads the letters to decide: a letter does not say.
    """

    models: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    text: str | None = None
    redriven: bool | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of them, apart from `redriven`."""
        if not self._meets(letter.record.timestamp_ms, letter.facts.model, letter.id):
            return False
        if self.codes and letter.code not in self.codes:
            return False
        if self.text is None:
            return True
        wanted = self.text.casefold()
        facts = letter.facts
        return any(wanted in (text or "").casefold() for text in (facts.error, facts.id, facts.origin))

    def matches_redrive(self, audit: Audit) -> bool:
        """Whether it is a redrive of one of their jobs, by its own time; codes and texts it does not say."""
        return self._meets(audit.timestamp_ms, audit.model, audit.id)

    def _meets(self, time_ms: int, model: str | None, job_id: str | None) -> bool:
        if self.since_ms is not None and time_ms < self.since_ms:
            return False
        if self.until_ms is not None and time_ms >= self.until_ms:
            return False
        return (not self.models or model in self.models) and (not self.ids or job_id in self.ids)


def parse_moment(text: str, now_ms: int) -> int:
    """A moment as Unix ms: RFC 3339, or an age before ``now_ms``. Raises ValueError that says what is allowed."""
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        return now_ms - int(age[1]) * _UNIT_MS[age[2]]
    moment = parse_rfc3339(text.strip())
    if moment is None:
        raise ValueError(f"{text!r} is no moment: give {MOMENT_RULE}")
    return moment
