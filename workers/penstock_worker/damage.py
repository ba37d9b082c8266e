"""Owns stepping over records that Kafka's client cannot hand out: where to read next, and what was lost in the end. Pure.

The same offset that fails a few times in a row will fail for ever (a damaged batch on disk). Where the next readable record
is, nobody knows: so steps double until something is read, and then go back by halves, for what lies between may be readable.

The client is always told where to go on. By itself it may not find back into the log: librdkafka 2.16 takes bytes in the
middle of a damaged batch for the next one, and goes on from the offset that it finds there. That is not in the log, which it
says at once, or a second after it was sent elsewhere and has read on there: then it stands still, and must be sent there again.
(With auto.offset.reset=earliest it would begin again at the log's begin.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TRIES: Final = 3
"""A fetch may be damaged on its way: so often is one offset read before it is given up."""


@dataclass(slots=True)
class _Damage:
    """One partition's. ``bad``: the largest offset that is known to fail; ``good``: the smallest known to be readable."""

    first: int
    bad: int
    tried: int
    """Where reading was last sent to."""
    errors: int = 1
    good: int | None = None
    step: int = 1


class StepOver:
    """The damage of each of some partitions (of any hashable name)."""

    def __init__(self) -> None:
        self._damages: dict[object, _Damage] = {}

    def __bool__(self) -> bool:
        return bool(self._damages)

    def failed(self, partition: object, offset: int, end: int) -> int:
        """Reading at ``offset`` failed. Returns where to read next: there again, or, after some tries, elsewhere.

        ``end`` is the offset after the log's last record, as far as known: what comes there will be readable.
        """
        damage = self._damages.get(partition)
        if damage is None or offset < damage.first:
            self._damages[partition] = _Damage(offset, offset, offset)
            return offset
        # The client names its batch's first offset, not the one that it was sent to; or one that is not in the log at all.
        damage.bad = max(damage.bad, damage.tried, offset if offset < end else 0)
        damage.errors += 1
        if damage.good is None and damage.bad + damage.step >= end:
            damage.good = max(end, damage.bad + 1)
        damage.tried = _next(damage) if damage.errors >= _TRIES else damage.first
        return damage.tried

    def read(self, partition: object, offset: int) -> int | None:
        """A record at ``offset`` was read. Returns where to read before that is taken; None: take it, nothing is missed."""
        damage = self._damages.get(partition)
        if damage is not None and offset < damage.first:
            return damage.tried  # the client went astray
        if damage is None:
            return None
        if offset == damage.first:  # it was damaged on its way, not in the log
            del self._damages[partition]
            return None
        if damage.errors < _TRIES:
            return None
        if offset > damage.tried > damage.bad:
            damage.bad = offset - 1
        damage.good = offset if damage.good is None else min(damage.good, offset)
        if damage.good - damage.bad <= 1:
            return None
        damage.tried = _next(damage)
        return damage.tried

    def sent(self, partition: object) -> int | None:
        """Where reading was last sent to; None where nothing is damaged."""
        damage = self._damages.get(partition)
        return None if damage is None else damage.tried

    def lost(self, partition: object, first: int, last: int) -> bool:
        """Whether the missing offsets ``first`` to ``last`` are damage; it is then forgotten."""
        damage = self._damages.get(partition)
        if damage is None or damage.first > last or damage.bad < first:
            return False
        del self._damages[partition]
        return True

    def passed(self, partition: object, offset: int) -> tuple[int, int] | None:
        """What was lost before ``offset``, which is taken now: first and last; None where nothing was. It is then forgotten."""
        damage = self._damages.pop(partition, None)
        return None if damage is None or offset <= damage.first else (damage.first, offset - 1)

    def forget(self, partition: object) -> None:
        """It has come anew, or gone."""
        self._damages.pop(partition, None)


def _next(damage: _Damage) -> int:
    if damage.good is not None:
        return damage.bad + max(1, (damage.good - damage.bad) // 2)
    damage.step *= 2
    return damage.bad + damage.step // 2
