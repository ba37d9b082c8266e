"""Owns what a member of the group commits, and what became of it: the last commit of each partition, and its answer.

No commit is waited for. Its answer may stand behind a request of the same member to join the group, which the group answers
when all have joined: also this worker's other members, whose callbacks run in the one thread that would be waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from penstock_worker.intake.takeover import State, write_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from confluent_kafka import Consumer, KafkaError

    from penstock_worker.health import Health
    from penstock_worker.intake.ledger import Mark
    from penstock_worker.intake.ledger import TopicPartition as Place


class Commits:
    """One member's commits."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self.own: dict[Place, tuple[int, str]] = {}
        """The last commit of each partition, offset and metadata."""
        self._answers: dict[Place, bool | None] = {}
        """What came of those: taken, refused, or not known yet. What is not in here was let go of, or never committed."""

    def commit(self, consumer: Consumer, marks: Mapping[Place, Mark], topic_ids: Mapping[Place, str], *, last: bool) -> None:
        """Commit next offsets, and what whoever takes over should know, where that is not what Kafka has.

        ``last``: before another owner has the partitions.
        """
        offsets: list[TopicPartition] = []
        for place, mark in marks.items():
            state: State = "shut" if last else "alone" if mark.alone else "open"
            word = mark.offset, write_metadata(state, mark.takeovers, mark.taken, topic_ids.get(place, ""))
            if self.own.get(place) == word and self._answers.get(place):
                continue
            self.own[place] = word
            self._answers[place] = None
            offsets.append(TopicPartition(*place, *self.own[place]))
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self.on_commit(error.args[0], offsets)

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The client's commit callback."""
        for partition in partitions:
            refused = error or partition.error
            if refused is not None:
                self._health.commit_refused(refused)
            place = partition.topic, partition.partition
            if self.own.get(place) == (partition.offset, partition.metadata or ""):
                self._answers[place] = refused is None
            elif refused is None and self._answers.get(place):
                # The client tried an older one again, and it came after the last: that is to be said once more.
                self._answers[place] = False
                self._health.commit_failed = True

    def answer(self, place: Place) -> bool | None:
        """Whether the last commit of ``place`` was taken; None as long as nobody knows, False where there is none."""
        return self._answers.get(place, False)

    def forget(self, places: Iterable[Place]) -> None:
        """These have gone: whatever was committed, it is to be committed again by whoever has them."""
        for place in places:
            self._answers.pop(place, None)
