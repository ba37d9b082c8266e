"""Owns where one member reads its partitions: on and on, elsewhere when told to, behind damage, and on from a standstill."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from penstock_worker.damage import StepOver
from penstock_worker.intake.jumps import Jumps
from penstock_worker.kafka import NOT_IN_LOG, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from penstock_worker.health import Health
    from penstock_worker.intake.ledger import TopicPartition as Place
    from penstock_worker.standstill import Standstill

_CUT: Final = re.compile(r"end offset is (\d+)")
"""How librdkafka says where a log ends that a broker has lost the end of."""


class Course:
    """Where ``consumer`` reads its partitions."""

    def __init__(self, consumer: Consumer, health: Health, standstill: Standstill) -> None:
        self._consumer = consumer
        self._health = health
        self._standstill = standstill
        self._damage = StepOver()
        self._jumps = Jumps(consumer)
        self._begun: dict[Place, int] = {}
        """Where each partition was begun with."""

    def begin(self, partition: Place, offset: int) -> None:
        """A partition has come, and is read from ``offset`` on; below 0: from where the client finds that it was committed."""
        self.forget(partition)
        self._begun[partition] = offset

    def forget(self, partition: Place) -> None:
        """It has gone."""
        self._begun.pop(partition, None)
        self._jumps.forget(partition)
        self._damage.forget(partition)

    @property
    def stopped(self) -> AbstractSet[Place]:
        """Partitions that are about to be read elsewhere. What is still polled of these is from where they were."""
        return self._jumps.ahead

    def jump(self, partition: Place, offset: int) -> None:
        """Read ``partition`` from ``offset`` on."""
        self._jumps.ask(partition, offset)

    def make_jumps(self, paused: Callable[[Place], bool], *, polled_all: bool) -> None:
        """Jump, if it is time. ``paused``: whether a partition is to stay so."""
        self._jumps.make(paused, polled_all=polled_all)

    def restart(self) -> None:
        """Send on what stands still without a word. When nothing is in hand: what is polled of it after this is read again."""
        for partition in self._standstill.take():
            if partition in self._begun and partition not in self.stopped:
                self._go_on(partition)

    def sift(self, messages: list[Message]) -> list[Message]:
        """What of ``messages`` is a record, and not to be read again."""
        if self._damage or any(message.error() is not None for message in messages):
            return self._sound(messages)
        self._jumps.read(messages)
        return messages

    def reached(self, partitions: Iterable[Place]) -> dict[Place, int]:
        """How far ``partitions`` have been read, marks of transactions included, where that is known."""
        if self._damage:
            return {}  # what is passed there may have held records
        asked = [TopicPartition(*partition) for partition in partitions if self._jumps.target(partition) is None]
        return {(p.topic, p.partition): p.offset for p in self._consumer.position(asked) if p.offset >= 0} if asked else {}

    def lost(self, partition: Place, first: int, last: int) -> bool:
        """Whether the missing offsets ``first`` to ``last`` are damage."""
        return self._damage.lost(partition, first, last)

    def _sound(self, messages: list[Message]) -> list[Message]:
        """What cannot be read is stepped over, and what stands still is sent on."""
        sound: list[Message] = []
        still: dict[Place, Message] = {}
        for message in messages:
            partition, error, offset = (message.topic() or "", message.partition() or 0), message.error(), message.offset() or 0
            if partition in self.stopped:
                continue
            if error is not None and error.code() in NOT_IN_LOG:
                still[partition] = message
                continue
            still.pop(partition, None)  # it does not: that was from before it was sent elsewhere
            target = None
            if error is None:
                target = self._damage.read(partition, offset)
            else:
                self._health.tell(message)
                if error.code() in UNREADABLE:
                    _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
                    target = self._damage.failed(partition, offset, end)
            if target is not None:
                self.jump(partition, target)
            elif error is None:
                sound.append(message)
                self._jumps.read([message])
        for partition, message in still.items():
            if partition not in self.stopped:
                self._go_on(partition, message)
        return sound

    def _go_on(self, partition: Place, message: Message | None = None) -> None:
        """Send a partition on that stands still: what ``message`` names, where there is one, is not in the log.

        Mostly damage has led the client there (see :mod:`penstock_worker.damage`), and it goes on where it was. Where that is
        not in the log, retention has deleted it, or a broker has lost the log's end.
        """
        where = self._jumps.target(partition)
        if where is None:
            (at,) = self._consumer.position([TopicPartition(*partition)])
            where = at.offset if at.offset >= 0 else self._begun.get(partition, OFFSET_BEGINNING)
        error = None if message is None else message.error()
        if message is not None and error is not None:
            cut = _CUT.search(error.str())
            if cut is not None:
                where = min(where, int(cut[1]))
            elif where == message.offset():
                where = OFFSET_BEGINNING
        if where < 0:
            where = OFFSET_BEGINNING
            self._damage.forget(partition)
            if message is not None:
                self._health.tell(message)
        self.jump(partition, where)
