"""Owns cutting what a poll gave into deliveries: of one topic each, and of bounded bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_worker.intake.delivery import Delivery, from_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message


def cut(messages: Sequence[Message], topics: Sequence[str], most_bytes: int) -> list[Delivery]:
    """Deliveries of at most ``most_bytes`` each (a larger record stands alone), in the order of each topic's messages."""
    if len(topics) == 1:
        return _cut_topic(topics[0], messages, most_bytes)
    by_topic: dict[str, list[Message]] = {}
    for message in messages:
        by_topic.setdefault(message.topic() or "", []).append(message)
    return [delivery for topic, own in by_topic.items() for delivery in _cut_topic(topic, own, most_bytes)]


def _cut_topic(topic: str, messages: Sequence[Message], most_bytes: int) -> list[Delivery]:
    sizes = list(map(len, messages))  # of a message: its value's bytes
    if sum(sizes) <= most_bytes:
        return [from_messages(topic, messages)]
    deliveries: list[Delivery] = []
    begin = total = 0
    for i, size in enumerate(sizes):
        if total + size > most_bytes and i > begin:
            deliveries.append(from_messages(topic, messages[begin:i]))
            begin, total = i, 0
        total += size
    deliveries.append(from_messages(topic, messages[begin:]))
    return deliveries
