"""Owns the choice between Apache Kafka and the embedded broker, and the sentence that tells why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.local.errors import LocalMissing
from penstock.local.jars import why_not

KafkaKind = Literal["apache", "embedded"]


@dataclass(frozen=True, slots=True)
class KafkaChoice:
    """Which Kafka to start, and why (a clause for people)."""

    kind: KafkaKind
    why: str


def choose_kafka(forced: KafkaKind | None) -> KafkaChoice:
    """Apache Kafka where it can be started, else the embedded broker; ``forced`` wins, or raises LocalMissing."""
    obstacle = why_not()
    if forced == "embedded":
        return KafkaChoice("embedded", "as asked with --kafka embedded")
    if forced == "apache":
        if obstacle:
            raise LocalMissing(f"--kafka apache cannot be: {obstacle}")
        return KafkaChoice("apache", "as asked with --kafka apache")
    if obstacle:
        return KafkaChoice("embedded", obstacle)
    return KafkaChoice("apache", "Java is on the PATH, and Kafka's jars are fetched or can be")
