"""Owns the study of overload: ``python -m benchmarks.overload`` submits three times what a worker can do, with deadlines.

The model waits for 20 ms a batch without using the CPU (``benchmarks.accelerator``), so that submitting does not take what the
worker needs. Goodput is what succeeded before its deadline, by the outcomes' LogAppendTimes and the time of submission that
each job's id tells; it is held against the rate at which a backlog without deadlines is drained. Memory is looked at every
second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.processes import held_mb
from benchmarks.scaling import accelerator_settings, drain_rate
from benchmarks.site import Site, fill, open_site
from benchmarks.works import WORKS
from penstock.local.worker import LocalWorker
from penstock.topics import TopicManager
from penstock_schemas.jobs import encode_job
from penstock_schemas.outcomes import decode_outcome
from penstock_schemas.settings import Settings

_SETTLE: Final = 5.0
"""Seconds after which the queue is as long as it gets."""
_PATIENCE: Final = 120.0
_TICK: Final = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=float, default=3.0, help="how much more than the worker can do")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds that a job has")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        study(site, options.times, options.deadline, options.seconds)


def study(site: Site, times: float, deadline: float, seconds: float) -> None:
    """Print what came of it."""
    settings = accelerator_settings(site, "overload")
    topics = TopicManager(settings)
    topics.apply()
    besides = settings.topics.outcome_partitions
    worker = LocalWorker(settings, folder=site.folder, log=site.folder / "overload.log")
    worker.start()
    try:
        with redis.Redis.from_url(site.store.url) as store:
            fill(site.kafka.bootstrap, settings.names.jobs(), WORKS["mlp"], 20_000)
            peak = drain_rate(store, besides, 20_000)
            _await_count(store, besides + 20_000)
            print(f"peak, a backlog without deadlines: {peak:,.0f} jobs/s", flush=True)
            begin = time.time()
            sizes, sent = submit(settings, worker.process.pid, peak * times, deadline, seconds)
            _await_count(store, besides + 20_000 + sent)
    finally:
        worker.stop()
    tell(settings, peak, begin, deadline, seconds, sent)
    for role in sizes[0]:
        held = [size[role] for size in sizes]
        half = len(held) // 2
        slope = np.polyfit(range(half, len(held)), held[half:], 1)[0] * 60
        print(
            f"RSS of the {role}: {held[0]:.0f} MB before, {max(held):.0f} at most; {slope:+.1f} MB a minute in the second half"
        )
    topics.delete()


def submit(settings: Settings, pid: int, rate: float, deadline: float, seconds: float) -> tuple[list[dict[str, float]], int]:
    """Submit ``rate`` jobs a second for so long. Returns the worker's memory, second by second, and how many there were."""
    row = WORKS["mlp"].array()
    value = encode_job({"x": row}, model_name="mlp", timeout_us=int(deadline * 1e6))
    producer: Any = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "linger.ms": 5})
    topic, sent = settings.names.jobs(), 0
    sizes = [held_mb(pid)]
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds:
        for number in range(sent, int(now * rate)):
            producer.produce(topic, value, f"{time.time_ns() // 1_000_000}-{number}")
        sent = int(now * rate)
        producer.poll(0)
        if now >= len(sizes):
            sizes.append(held_mb(pid))
        time.sleep(_TICK)
    if producer.flush(60):
        raise RuntimeError("Kafka did not take the jobs within a minute")
    return sizes, sent


def tell(settings: Settings, peak: float, begin: float, deadline: float, seconds: float, sent: int) -> None:
    """Read all outcomes and print how many were in time."""
    statuses: Counter[str] = Counter()
    in_time = late = 0
    for at_ms, key, value in _outcomes(settings):
        submitted = int(key.partition(b"-")[0]) if key[:3] != b"job" else 0
        if submitted < begin * 1000:
            continue
        status = decode_outcome(value).status
        statuses[status] += 1
        if status == "succeeded" and begin + _SETTLE <= at_ms / 1000 < begin + seconds:
            if at_ms - submitted <= deadline * 1000:
                in_time += 1
            else:
                late += 1
    goodput = in_time / (seconds - _SETTLE)
    print(f"{sent:,} jobs submitted in {seconds:.0f} s, {sent / seconds / peak:.1f} times the peak: {dict(statuses)}")
    print(f"goodput: {goodput:,.0f} jobs/s in time, {goodput / peak:.2f} of the peak")
    print(f"{late / (seconds - _SETTLE):,.0f} jobs/s succeeded too late")


def _outcomes(settings: Settings) -> Any:
    """(LogAppendTime in ms, key, value) of every outcome."""
    consumer: Any = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "overload"})
    topic = settings.names.outcomes
    partitions = [TopicPartition(topic, number, 0) for number in range(settings.topics.outcome_partitions)]
    ends = {one.partition: consumer.get_watermark_offsets(one)[1] for one in partitions}
    consumer.assign(partitions)
    left = sum(ends.values())
    while left > 0:
        for message in consumer.consume(10_000, 1.0):
            yield message.timestamp()[1], message.key(), message.value()
            left -= 1
    consumer.close()


def _await_count(store: Any, count: int) -> None:
    begin = time.perf_counter()
    while (there := int(store.dbsize())) < count:
        if time.perf_counter() - begin > _PATIENCE:
            raise RuntimeError(f"{there:,} of {count:,} keys are there after {_PATIENCE:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
