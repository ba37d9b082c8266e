"""Owns where a worker begins to read a partition that it is given: after the last commit, or where the log begins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from confluent_kafka import KafkaException, TopicPartition

from penstock_schemas.names import TIER_REGEX, tier_seconds
from penstock_worker.intake.takeover import Left, read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Consumer

    from penstock_schemas.settings import Settings
    from penstock_worker.intake import ledger

_ASK_SECONDS: Final = 10.0
"""How long a question to the broker may take while partitions are being assigned."""


class Start(NamedTuple):
    """Where reading begins: the offset (None: unknown, the client decides), and what the last owner left."""

    offset: int | None
    end: int = 0
    """The offset after the log's last record."""
    left: Left = Left()
    gap: tuple[int, int] | None = None
    """First and last offset that retention deleted before anyone read them."""


def retry_topics(consumer: Consumer, settings: Settings) -> dict[str, float]:
    """Retry topics and their delays in seconds: those of the settings, and those of earlier settings that are still there.

    Jobs may wait in a tier that the settings do not name any more; its name says how long.
    """
    names = settings.names
    found = {names.retry(tier): tier_seconds(tier) for tier in settings.retry.tiers}
    prefix = names.retry("")
    try:
        there = consumer.list_topics(timeout=_ASK_SECONDS).topics
    except KafkaException:
        return found  # nobody can be asked now; the client itself waits for the topics that it knows
    for topic in there:
        tier = topic.removeprefix(prefix)
        if topic.startswith(prefix) and re.fullmatch(TIER_REGEX, tier):
            found.setdefault(topic, tier_seconds(tier))
    return found


def place(
    consumer: Consumer,
    partitions: list[TopicPartition],
    own: Mapping[ledger.TopicPartition, tuple[int, str]],
    ids: Mapping[str, str],
) -> dict[ledger.TopicPartition, Start]:
    """Set the offset of each of ``partitions``, and say where and how that is.

    ``own`` are this process' own last commits, offset and metadata: whoever wrote that has not died. ``ids``: of topics.
    """
    log = structlog.get_logger("penstock.intake")
    starts: dict[ledger.TopicPartition, Start] = {(p.topic, p.partition): Start(None) for p in partitions}
    try:
        committed: list[TopicPartition] = consumer.committed(partitions, timeout=_ASK_SECONDS) if partitions else []
        for partition, known in zip(partitions, committed, strict=True):
            low, high = consumer.get_watermark_offsets(partition, timeout=_ASK_SECONDS)
            start = Start(low, high)
            left = read_metadata(known.metadata)
            another = left.topic_id and ids.get(partition.topic, left.topic_id) != left.topic_id
            if known.offset > high or (known.offset >= 0 and another):
                log.error(
                    "a topic is not the one of which was committed: made again? Reading it from its start",
                    topic=partition.topic,
                    partition=partition.partition,
                    committed=known.offset,
                    end=high,
                )
            elif low <= known.offset <= high:
                mine = own.get((partition.topic, partition.partition)) == (known.offset, known.metadata)
                start = Start(known.offset, high, Left() if mine else left)
            elif 0 <= known.offset < low:
                start = Start(low, high, gap=(known.offset, low - 1))
            starts[partition.topic, partition.partition] = start
            partition.offset = low if start.offset is None else start.offset
    except KafkaException as error:
        # The client itself then starts at the committed offsets; where one is known, a gap is seen at the first record.
        log.warning("could not look at what was committed", error=str(error))
    return starts
