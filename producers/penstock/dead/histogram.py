"""Owns counting letters: by model, code and hour, or by model, code and error sentence, and how the counts are shown."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from penstock.dead.letters import DeadLetter
from penstock_schemas.headers import rfc3339

HOUR_MS: Final = 3_600_000
MOST_MODELS: Final = 1000
MOST_SENTENCES: Final = 1000
OTHERS: Final = "(other models)"
NO_MODEL: Final = "(no model)"


class Histogram:
    """Counts letters by model, code and hour (UTC). Bounded: models beyond the first 1,000 are counted together.

    A model's name may be whatever a job asked for, so there could be as many as letters.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._models: set[str] = set()
        self.letters = 0
        self.gap_records = 0

    def add(self, letter: DeadLetter) -> None:
        """Count one letter."""
        model = letter.facts.model or NO_MODEL
        if model not in self._models:
            if len(self._models) >= MOST_MODELS:
                model = OTHERS
            self._models.add(model)
        self._counts[model, letter.code, letter.record.timestamp_ms // HOUR_MS] += 1
        self.letters += 1
        self.gap_records += letter.gap_records

    def document(self) -> dict[str, Any]:
        """The counts as JSON would say them."""
        rows = [
            {"model": model, "code": code, "hour": rfc3339(hour * HOUR_MS), "letters": count}
            for (model, code, hour), count in sorted(self._counts.items())
        ]
        totals: Counter[str] = Counter()
        for (_, code, _), count in self._counts.items():
            totals[code] += count
        return {"letters": self.letters, "gap_records": self.gap_records, "codes": dict(sorted(totals.items())), "counts": rows}

    def lines(self) -> list[str]:
        """The counts for a person: a table for each model, hours down and codes across, and one line of totals."""
        lines: list[str] = []
        for model in sorted({model for model, _, _ in self._counts}):
            lines += [model, *_table({key[1:]: count for key, count in self._counts.items() if key[0] == model}), ""]
        lines.append(f"{counted(self.letters, 'letter')} in all")
        if self.gap_records:
            lines[-1] += f"; the gaps are {counted(self.gap_records, 'record')} that nobody has read"
        return lines


class Sentences:
    """Counts letters by model, code and error sentence, word for word. Bounded: past the first 1,000 they count as others.

    Numbers in a sentence are left as they are: a shape or a version may be all that tells one cause from another.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self.letters = 0
        self.others = 0
        """Letters whose sentence was not among the first 1,000."""

    def add(self, letter: DeadLetter) -> None:
        """Count one letter."""
        self.letters += 1
        key = letter.facts.model or NO_MODEL, letter.code, letter.facts.error or ""
        if key in self._counts or len(self._counts) < MOST_SENTENCES:
            self._counts[key] += 1
        else:
            self.others += 1

    def document(self) -> dict[str, Any]:
        """The counts as JSON would say them, most frequent first."""
        rows = [
            {"model": model, "code": code, "error": error, "letters": count}
            for (model, code, error), count in self._counts.most_common()
        ]
        return {"letters": self.letters, "others": self.others, "counts": rows}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Letters, code, model and sentence for a person, most frequent first, and the others."""
        rows = [(f"{count:,}", code, model, error) for (model, code, error), count in self._counts.most_common()]
        others = [(f"{self.others:,}", "", "", f"others: more than {MOST_SENTENCES:,} different sentences")]
        return [*rows, *(others if self.others else [])]


def counted(number: int, noun: str) -> str:
    """``1 letter``, ``2,000 letters``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _table(counts: dict[tuple[str, int], int]) -> list[str]:
    codes = sorted({code for code, _ in counts})
    widths = [max(len(code), 7) for code in codes]
    lines = [_row("hour (UTC)", codes, "total", widths)]
    for hour in sorted({hour for _, hour in counts}):
        found = [counts.get((code, hour), 0) for code in codes]
        name = rfc3339(hour * HOUR_MS)[:16].replace("T", " ")
        lines.append(_row(name, [f"{count:,}" if count else "" for count in found], f"{sum(found):,}", widths))
    if len(lines) > 2:
        totals = [sum(count for (name, _), count in counts.items() if name == code) for code in codes]
        lines.append(_row("total", [f"{count:,}" for count in totals], f"{sum(totals):,}", widths))
    return lines


def _row(name: str, cells: list[str], total: str, widths: list[int]) -> str:
    middle = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"  {name:<16}  {middle}  {total:>9}"
