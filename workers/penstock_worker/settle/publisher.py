"""Owns settling: what came of each job becomes an outcome, a retry record, or a dead letter and then its outcome.

A job is settled when the broker has confirmed the record that takes its place: the outcome, or the retry record. A letter
alone settles nothing. See :mod:`penstock_worker.settle.outbox` for how records reach Kafka.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.retries import PROBE
from penstock_worker.intake.delivery import runs
from penstock_worker.settle.breaker import FAULTS, Breaker
from penstock_worker.settle.confirmations import LetterConfirmed, OutcomeConfirmed, ProbeConfirmed, RetryConfirmed
from penstock_worker.settle.letters import Letters, deadline_of
from penstock_worker.settle.policy import Killed, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from penstock_schemas.settings import Settings
    from penstock_worker.engine.wire import Answer, Failure
    from penstock_worker.intake.delivery import Delivery
    from penstock_worker.intake.ledger import Entry, TopicPartition
    from penstock_worker.settle.outbox import Outbox
    from penstock_worker.settle.policy import Again


class Publisher:
    """Publishes what came of jobs. ``now_ms`` tells the time by the broker's clock."""

    def __init__(self, settings: Settings, worker: str, outbox: Outbox, breaker: Breaker, now_ms: Callable[[], float]) -> None:
        self._letters = Letters(settings, worker, now_ms)
        self._policy = Policy(settings)
        self._outbox = outbox
        self._breaker = breaker
        self._now_ms = now_ms
        self._names = settings.names
        self._tiers = settings.retry.tiers
        self._outcomes = settings.names.outcomes

    def publish(
        self, delivery: Delivery, answer: Answer, indices: NDArray[np.int64], *, killed: Killed = Killed.NOTHING
    ) -> Counter[tuple[str, str]]:
        """Publish what came of the jobs ``indices`` of ``delivery``; ``answer`` may hold others, answered before.

        ``killed``: what died while its one job ran alone. Returns how many jobs are given another
        try, by the code that they failed with and the one for which they wait.
        """
        retried = Counter[tuple[str, str]]()
        said = np.frombuffer(answer.indices, np.int32)
        if not answer.failures and len(indices) == len(said):
            self._publish_whole(delivery, answer, said)
            return retried
        for place in np.flatnonzero(np.isin(said, indices)).tolist():
            index = int(said[place])
            key = delivery.keys[index] if answer.keys is None else answer.keys[place]
            failure = answer.failures.get(index)
            if failure is not None:
                why = self._fail(delivery, index, key or b"", answer.values[place], failure, killed)
                if why is not None:
                    retried[failure.code, why] += 1
            else:
                confirmed = OutcomeConfirmed(self._outbox, delivery.entry(index))
                self._outbox.produce(self._outcomes, key, answer.values[place], confirmed)
        return retried

    def gap(self, partition: TopicPartition, first: int, last: int, reason: str, entry: Entry) -> None:
        """Record a range of a topic that nobody has read: one letter for all of it, which settles ``entry``."""
        letter = self._letters.gap(partition, first, last, reason)
        confirmed = LetterConfirmed(self._outbox, letter.headers, entry.settle)
        self._outbox.produce(self._names.dead, letter.key, letter.value, confirmed)

    def probe(self, told: Callable[[int | None], None]) -> None:
        """Ask the broker for its time: a record that is no job, whose LogAppendTime ``told`` gets (None: refused)."""
        self._outbox.produce(self._names.retry(self._tiers[0]), None, None, ProbeConfirmed([(PROBE, b"1")], told))

    def _publish_whole(self, delivery: Delivery, answer: Answer, said: NDArray[np.int32]) -> None:
        """The fast way: all of ``answer``, which holds no failure, a stretch of neighbours on one entry at a time."""
        own = delivery.keys
        places: list[int] = said.tolist()
        keys: Sequence[bytes | None] = [own[i] for i in places] if answer.keys is None else answer.keys
        if delivery.which is None:
            confirmed = OutcomeConfirmed(self._outbox, delivery.entries[0])
            self._outbox.produce_all(self._outcomes, keys, answer.values, confirmed)
            return
        which = delivery.which[said]
        for begin, end in runs(which):
            confirmed = OutcomeConfirmed(self._outbox, delivery.entries[int(which[begin])])
            self._outbox.produce_all(self._outcomes, keys[begin:end], answer.values[begin:end], confirmed)

    def _fail(self, delivery: Delivery, index: int, key: bytes, outcome: bytes, failure: Failure, killed: Killed) -> str | None:
        """Give a failed job its next try, or end it. Returns the code for which it waits, None where it has ended."""
        tries = self._letters.tries(delivery, index, failure)
        code = ErrorCode(failure.code)
        resting = code in FAULTS and self._breaker.resting(failure.model)  # then it is not the job's fault
        why = ErrorCode.MODEL_UNAVAILABLE if resting else code
        again = self._policy.decide(
            why,
            tries,
            failure.model,
            killed=Killed.NOTHING if resting else killed,
            deadline_ms=deadline_of(tries, failure.timeout_us),
            now_ms=self._now_ms(),
        )

        def bury() -> None:
            letter = self._letters.job(delivery, index, key, failure, tries)
            confirmed = OutcomeConfirmed(self._outbox, delivery.entry(index))
            follow = partial(self._outbox.produce, self._outcomes, key, outcome, confirmed)
            self._outbox.produce(self._names.dead, key, letter.value, LetterConfirmed(self._outbox, letter.headers, follow))

        if again is None:
            bury()
            return None
        self._retry(delivery, index, None if failure.blind else key, again, JobError(code, failure.message), bury)
        return why

    def _retry(
        self, delivery: Delivery, index: int, job_id: bytes | None, again: Again, error: JobError, bury: Callable[[], None]
    ) -> None:
        headers = self._letters.retry(job_id, error, again.tries, self._policy.seconds(again.tier))
        confirmed = RetryConfirmed(self._outbox, headers, delivery.entry(index).settle, bury)
        # The job's own key and bytes, untouched: its id stands in a header.
        self._outbox.produce(self._names.retry(again.tier), delivery.keys[index], delivery.values[index], confirmed)
