"""Owns submitting at a rate, from a process that also looks on: what the studies that last do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Producer

_TICK: Final = 0.01


def feed(bootstrap: str, topic: str, value: bytes, rate: float, seconds: float, look: Callable[[], None]) -> int:
    """Submit ``rate`` jobs a second for so long; ``look`` is called once a second, and once before.

    A job's id begins with the time of its submission, in ms since the epoch. Returns how many there were. Raises RuntimeError
    where Kafka has not taken them all a minute later.
    """
    producer: Any = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    sent = looked = 0
    look()
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds:
        for number in range(sent, int(now * rate)):
            producer.produce(topic, value, f"{time.time_ns() // 1_000_000}-{number}")
        sent = int(now * rate)
        producer.poll(0)
        if now >= looked + 1:
            looked += 1
            look()
        time.sleep(_TICK)
    if producer.flush(60):
        raise RuntimeError("Kafka did not take the jobs within a minute")
    return sent
