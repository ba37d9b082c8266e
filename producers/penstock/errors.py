"""Owns every error that a caller of :mod:`penstock` can meet.

One tree::

    PenstockError
    ├── InvalidJob (ValueError)           submit: the inputs or options cannot be a job; nothing was sent
    ├── QueueFull                         submit: the local queue stayed full as long as submit may block; nothing was sent
    ├── DeliveryFailed                    Kafka did not take jobs: `job_ids` and `reasons` (submitting them again is safe)
    ├── FlushTimeout (TimeoutError)       flush: Kafka has not confirmed all jobs yet; they are still being sent
    ├── OutcomeError                      there is an outcome (`outcome` on it), and it holds no result
    │   ├── JobFailed                     the job failed: `code`, `message`, `attempts`
    │   └── JobExpired                    the job's own deadline passed before its turn came
    ├── ResultTimeout (TimeoutError)      this wait ran out; the job goes on, and its outcome may still come
    ├── ResultsUnavailable                results cannot be read at all: Redis refuses this client, or it was given none
    └── ClientUnusable (RuntimeError)
        ├── ClientClosed                  the client was closed before, or while, it was asked
        └── ClientForked                  the client belongs to the process this one was forked from: make a new one here
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock_schemas.errors import ErrorCode
    from penstock_schemas.outcomes import Outcome

_NAMED = 5
"""How many jobs a message names one by one; the attributes have them all."""


class PenstockError(Exception):
    """Root of all errors of this package."""


class InvalidJob(PenstockError, ValueError):
    """The inputs or options of a submit cannot be a job. Nothing was sent."""


class QueueFull(PenstockError):
    """The local queue stayed full for as long as submit may block. Nothing was sent: try later, or slow down."""


class DeliveryFailed(PenstockError):
    """Kafka did not confirm these jobs within the delivery time, or refused them.

    Attributes:
        reasons: why, by job id, in the order in which they failed (at most the first 10,000).
        count: how many jobs it is about, those beyond `reasons` included.
    """

    def __init__(self, reasons: Mapping[str, str], count: int | None = None) -> None:
        self.reasons = dict(reasons)
        self.count = max(count or 0, len(self.reasons))
        shown = [f"{job_id} ({reason})" for job_id, reason in list(self.reasons.items())[:_NAMED]]
        more = f" and {self.count - len(shown)} more" if self.count > len(shown) else ""
        jobs = "job" if self.count == 1 else f"{self.count} jobs:"
        super().__init__(f"Kafka did not take {jobs} {', '.join(shown)}{more}; they may be submitted again under the same ids")

    @property
    def job_ids(self) -> list[str]:
        return list(self.reasons)


class FlushTimeout(PenstockError, TimeoutError):
    """Kafka has not confirmed all submitted jobs within the time given; `unconfirmed` says how many are left."""

    def __init__(self, unconfirmed: int, timeout: float) -> None:
        self.unconfirmed = unconfirmed
        super().__init__(f"Kafka has not confirmed {unconfirmed} jobs within {timeout:g} s; they are still being sent")


class OutcomeError(PenstockError):
    """The job has an outcome, and it holds no result. `outcome` is the outcome itself."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        self.outcome = outcome
        super().__init__(message)

    @property
    def job_id(self) -> str:
        return self.outcome.id

    @property
    def code(self) -> str | None:
        """One of :class:`penstock_schemas.errors.ErrorCode`."""
        code: ErrorCode | str | None = self.outcome.error_code
        return None if code is None else str(code)

    @property
    def message(self) -> str:
        """What was wrong, where, and what would be right."""
        return self.outcome.error or ""

    @property
    def attempts(self) -> int:
        """How often the fleet tried."""
        return self.outcome.attempts


class JobFailed(OutcomeError):
    """The job failed for good, after `attempts` tries."""

    def __init__(self, outcome: Outcome) -> None:
        tries = "1 attempt" if outcome.attempts == 1 else f"{outcome.attempts} attempts"
        super().__init__(outcome, f"job {outcome.id} failed after {tries}: {outcome.error} [{outcome.error_code}]")


class JobExpired(OutcomeError):
    """The job's own deadline (submit's `timeout`) had passed before its turn came."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome, f"job {outcome.id} expired: {outcome.error or 'its deadline passed before its turn came'}")


class ResultTimeout(PenstockError, TimeoutError):
    """No outcome was there within the caller's time. The job goes on; waiting again is fine."""

    def __init__(self, job_id: str, timeout: float, trouble: str | None = None) -> None:
        self.job_id = job_id
        why = trouble or "it may still come (a job never submitted looks the same)"
        super().__init__(f"no outcome of job {job_id} within {timeout:g} s: {why}")


class ResultsUnavailable(PenstockError):
    """Results cannot be read at all, however long one waits."""


class ClientUnusable(PenstockError, RuntimeError):
    """This client can do nothing more here."""


class ClientClosed(ClientUnusable):
    """The client was closed."""

    def __init__(self) -> None:
        super().__init__("this client is closed: make a new one, or keep the `with` block open longer")


class ClientForked(ClientUnusable):
    """The client was made before this process was forked; its threads and connections stayed behind."""

    def __init__(self, made_in: int, used_in: int) -> None:
        super().__init__(
            f"this client was made in process {made_in} and is used in process {used_in}, which was forked from it; its "
            "threads and connections did not come along: make the client after the fork (gunicorn: post_fork, Celery: "
            "worker_process_init)"
        )
