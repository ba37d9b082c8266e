"""Owns the table of a fleet's topics and their settings, and the comparison with what a cluster has. No I/O.

Which settings there are and why is part of the contract: ``docs/contract.md``, Topics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:  # pydantic is not for whoever only wants the names
    from collections.abc import Iterable, Mapping

    from penstock_schemas.settings import Settings

LETTER_OVERHEAD: Final = 64 * 1024
"""How much larger than a job a retry or dead-letter record may be (bytes)."""

Kind = Literal["jobs", "outcomes", "retry", "dead"]

_COMMON: Final = {
    # Never compact: that keeps the last record of an id, and the first is the one that counts.
    "cleanup.policy": "delete",
    # A publisher's clock must not decide when its job is deleted, due or expired.
    "message.timestamp.type": "LogAppendTime",
    # By time alone: a burst must not push out what nobody has read.
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
}
_BOMB_PROOF: Final = {"compression.type": "uncompressed"}
"""The broker then unpacks every batch at the door and refuses what unpacks to more than a record may be."""


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """One topic as the settings want it. ``config`` holds the topic's settings under Kafka's names, values as texts."""

    name: str
    kind: Kind
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PresentTopic:
    """One topic as a cluster has it."""

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a topic is not what the settings want.

    ``key``: ``topic`` (it is missing), ``partitions``, ``replication``, or a topic setting's name. ``present`` is None for
    what is missing. ``fixable``: whether ``penstock topics apply`` can mend it. ``advice``: what to do where it cannot.
    ``breaks_contract``: whether the fleet's promises hold no longer with it.
    """

    topic: str
    key: str
    present: str | None
    wanted: str
    fixable: bool = True
    breaks_contract: bool = True
    advice: str = ""

    def __str__(self) -> str:
        if self.key == "topic":
            return f"{self.topic}: is missing (wanted: {self.wanted})"
        text = f"{self.topic}: {self.key} is {self.present}, wanted: {self.wanted}"
        return f"{text} ({self.advice})" if self.advice else text


def wanted_topics(settings: Settings, brokers: int) -> list[WantedTopic]:
    """Every topic of the fleet, for a cluster of ``brokers`` brokers (it decides the replication where that is unset)."""
    topics, names = settings.topics, settings.names
    replication = topics.replication or (3 if brokers >= 3 else 1)
    common = {**_COMMON, "min.insync.replicas": "2" if replication >= 3 else "1"}
    retry_life = topics.jobs_retention + settings.longest_delay
    letter_bytes = topics.max_job_bytes + LETTER_OVERHEAD

    def wanted(name: str, kind: Kind, partitions: int, retention: float, size: int, more: Mapping[str, str]) -> WantedTopic:
        config = {**common, **more, "retention.ms": str(round(retention * 1000)), "max.message.bytes": str(size)}
        return WantedTopic(name, kind, partitions, replication, config)

    jobs = [names.jobs(queue) for queue in settings.worker.queues]
    if names.jobs() not in jobs:
        jobs.insert(0, names.jobs())  # who names no queue must find his topic
    return [
        *(
            wanted(name, "jobs", topics.job_partitions, topics.jobs_retention, topics.max_job_bytes, _BOMB_PROOF)
            for name in jobs
        ),
        wanted(names.outcomes, "outcomes", topics.outcome_partitions, topics.outcomes_retention, topics.max_outcome_bytes, {}),
        *(
            wanted(names.retry(tier), "retry", topics.job_partitions, retry_life, letter_bytes, _BOMB_PROOF)
            for tier in settings.retry.tiers
        ),
        # One partition: letters are few and read by people, who want them in order.
        wanted(names.dead, "dead", 1, topics.dead_retention, letter_bytes, _BOMB_PROOF),
    ]


def differences(wanted: Iterable[WantedTopic], present: Mapping[str, PresentTopic]) -> list[Difference]:
    """What in ``present`` (by topic name) is not as wanted, topic by topic; empty where all is well."""
    found: list[Difference] = []
    for topic in wanted:
        there = present.get(topic.name)
        if there is None:
            shape = f"{topic.partitions} partitions, replication {topic.replication}"
            found.append(Difference(topic.name, "topic", None, shape))
        else:
            found += _shape_differences(topic, there)
            found += _config_differences(topic, there)
    return found


def _shape_differences(topic: WantedTopic, there: PresentTopic) -> list[Difference]:
    found: list[Difference] = []
    if there.partitions != topic.partitions:
        fixable, advice = _partition_advice(topic, there.partitions)
        present, wanted = str(there.partitions), str(topic.partitions)
        found.append(Difference(topic.name, "partitions", present, wanted, fixable, False, advice))
    if there.replication < topic.replication:
        advice = "move it with Kafka's kafka-reassign-partitions, or set topics.replication"
        found.append(
            Difference(topic.name, "replication", str(there.replication), str(topic.replication), False, False, advice)
        )
    return found


def _partition_advice(topic: WantedTopic, present: int) -> tuple[bool, str]:
    """Whether the partition count can be mended, and what to do where not."""
    if topic.kind == "outcomes":
        return False, f"changing it would break first-wins: set topics.outcome_partitions = {present}"
    if present > topic.partitions:
        key = "; more do no harm" if topic.kind == "dead" else f": set topics.job_partitions = {present}"
        return False, f"Kafka cannot take partitions away{key}"
    return True, ""


def _config_differences(topic: WantedTopic, there: PresentTopic) -> list[Difference]:
    found: list[Difference] = []
    for key, wanted in topic.config.items():
        present = there.config.get(key)
        if present != wanted:
            found.append(Difference(topic.name, key, present, wanted, breaks_contract=_breaks(topic, key, present, wanted)))
    return found


def _breaks(topic: WantedTopic, key: str, present: str | None, wanted: str) -> bool:
    """Sizes and times may be more generous than wanted without harm to a promise; dead letters' are for people to choose."""
    if key == "min.insync.replicas" or (key == "retention.ms" and topic.kind == "dead"):
        return False
    if key not in ("retention.ms", "max.message.bytes"):
        return True
    if present is None or not present.lstrip("-").isdigit():
        return True
    at_least = int(present) == -1 or int(present) >= int(wanted)  # retention.ms -1: for ever
    # A jobs topic that takes more than the workers read is no promise broken: they refuse the job with too_large.
    return not at_least
