"""Owns one record of the dead-letter topic as it is read: a letter, or the record that one was redriven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock_schemas.dead import REDRIVEN, LetterFacts, parse_letter
from penstock_schemas.headers import PENSTOCK_GENERATION, Header, rfc3339
from penstock_schemas.retries import ORIGIN, number, own_headers

GAP_CODE: Final = "gap"
"""Stands for the error code of a letter about records that nobody has read: these have none of their own."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the dead-letter topic, as Kafka hands it over. ``timestamp_ms`` is its LogAppendTime."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def place(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class Audit:
    """The record that a letter was redriven: which one (``identity``), of which job, by whom, why, when, as what."""

    identity: str
    id: str | None
    model: str | None
    by: str | None
    reason: str | None
    time: str | None
    generation: int | None
    timestamp_ms: int

    def document(self) -> dict[str, Any]:
        """As JSON would say it."""
        return {
            "time": self.time,
            "by": self.by,
            "id": self.id,
            "model": self.model,
            "generation": self.generation,
            "identity": self.identity,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter: the record it stands in, what its headers say, and the job's own headers."""

    record: Record
    facts: LetterFacts
    own: Sequence[Header]

    @property
    def id(self) -> str | None:
        """The job's id."""
        return self.facts.id

    @property
    def identity(self) -> str:
        """What tells it from other letters; the place of the record where the letter does not say.

        A gap's says both ends: it may begin with a record that somebody had read, and written a letter of, without a commit.
        """
        if self.is_gap and self.facts.gap is not None:
            return f"{self.facts.origin}/{self.facts.gap[1]}/gap"
        return self.facts.identity or self.record.place

    @property
    def job(self) -> str:
        """The job and generation that it is about, whichever of its attempts."""
        return job_of(self.identity)

    @property
    def is_gap(self) -> bool:
        """Whether it is about records that nobody has read. A job's own header of that name does not make it one."""
        return self.facts.gap is not None and self.facts.id is None

    @property
    def gap_records(self) -> int:
        """How many records a gap is about; 0 for other letters."""
        gap = self.facts.gap
        return gap[1] - gap[0] + 1 if gap is not None and self.is_gap else 0

    @property
    def code(self) -> str:
        return GAP_CODE if self.is_gap else self.facts.error_code or "none"

    @property
    def has_body(self) -> bool:
        """Whether the job's own bytes are in it: those of a job that was too large to keep are not."""
        return not self.is_gap and (bool(self.record.value) or self.facts.digest is None)

    @property
    def body(self) -> bytes | None:
        """The job's own bytes; None where its record had no value."""
        return None if self.facts.is_null else self.record.value or b""

    @property
    def size(self) -> int:
        """Bytes of the job's body, also of one that was not kept."""
        return len(self.record.value or b"") if self.has_body else self.facts.size or 0

    def document(self) -> dict[str, Any]:
        """What is known of it, as JSON would say it, without body and own headers."""
        facts = self.facts
        document: dict[str, Any] = {
            "identity": self.identity,
            "id": facts.id,
            "code": self.code,
            "error": facts.error,
            "model": facts.model,
            "model_version": facts.model_version,
            "origin": facts.origin,
            "origin_timestamp_ms": facts.origin_timestamp_ms,
            "generation": facts.generation,
            "attempt": facts.attempt,
            "time": facts.time or rfc3339(self.record.timestamp_ms),
            "worker": facts.worker,
            "batch_rows": facts.batch_rows,
            "first_failure": facts.first_failure,
            "failures": list(facts.failures),
            "evidence": facts.evidence,
            "bytes": self.size,
            "digest": facts.digest if not self.has_body else None,
            "gap": list(facts.gap) if self.is_gap and facts.gap is not None else None,
            "place": self.record.place,
        }
        return {key: value for key, value in document.items() if value not in (None, [])}


def job_of(identity: str) -> str:
    """The job and generation in a letter's identity (origin/generation/attempt)."""
    return identity.rpartition("/")[0] or identity


def read_record(record: Record) -> DeadLetter | Audit:
    """Tell letters from records of redrives. Never raises; a record of somebody else's is a letter that says little."""
    names = {name.lower() for name, _ in record.headers}
    if REDRIVEN in names and ORIGIN not in names:
        return _audit(record)
    own = own_headers(record.headers)
    # Ours alone: what the job itself says under our names must not be taken for the worker's word.
    ours = record.headers[: len(record.headers) - len(own)]
    return DeadLetter(record, parse_letter(ours), own)


def read_audit(record: Record) -> Audit | None:
    """The record of a redrive, None where it is a letter; cheaper than :func:`read_record` where letters do not matter."""
    first = record.headers[0][0] if record.headers else ""
    if first != REDRIVEN:
        return None
    found = read_record(record)
    return found if isinstance(found, Audit) else None


def _audit(record: Record) -> Audit:
    facts = parse_letter(record.headers)
    generation = next((value for name, value in record.headers if name == PENSTOCK_GENERATION and value), b"")
    return Audit(
        identity=facts.redriven or "",
        id=facts.id,
        model=facts.model,
        by=facts.redriven_by,
        reason=facts.redriven_reason,
        time=facts.time or rfc3339(record.timestamp_ms),
        generation=number(generation.decode("ascii", "replace")),
        timestamp_ms=record.timestamp_ms,
    )
