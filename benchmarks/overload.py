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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import redis
from confluent_kafka import Consumer, TopicPartition

from benchmarks.feed import feed
from benchmarks.processes import held_mb
from benchmarks.results import Figures, keep, middle, slope
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
_BACKLOG: Final = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=float, default=3.0, help="how much more than the worker can do")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds that a job has")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        for number in range(options.rounds):
            found.append(study(site, f"overload-{number}", options.times, options.deadline, options.seconds))
            print(f"round {number + 1}: {told(found[-1])}", flush=True)
    print(f"goodput: {middle(found, 'of_peak'):.2f} of the peak, the median of {len(found)} rounds")
    keep(options.json, options, found)


def study(site: Site, fleet: str, times: float, deadline: float, seconds: float) -> Figures:
    """One round. Rates in jobs/s; ``rss_mb``: second by second, by role."""
    settings = accelerator_settings(site, fleet)
    topics = TopicManager(settings)
    topics.apply()
    besides = settings.topics.outcome_partitions
    worker = LocalWorker(settings, folder=site.folder, log=site.folder / f"{fleet}.log")
    worker.start()
    sizes: list[Mapping[str, float]] = []
    try:
        with redis.Redis.from_url(site.store.url) as store:
            store.flushall()
            fill(site.kafka.bootstrap, settings.names.jobs(), WORKS["mlp"], _BACKLOG)
            peak = drain_rate(store, besides, _BACKLOG)
            _await_count(store, besides + _BACKLOG)
            value = encode_job({"x": WORKS["mlp"].array()}, model_name="mlp", timeout_us=int(deadline * 1e6))
            begin, pid = time.time(), worker.process.pid
            rate = peak * times
            sent = feed(site.kafka.bootstrap, settings.names.jobs(), value, rate, seconds, lambda: sizes.append(held_mb(pid)))
            _await_count(store, besides + _BACKLOG + sent)
    finally:
        worker.stop()
    figures = _came_of_it(settings, begin, deadline, seconds)
    topics.delete()
    held = {role: [size[role] for size in sizes] for role in sizes[0]}
    return figures | {"peak": peak, "of_peak": figures["per_second"] / peak, "sent": sent, "rss_mb": held}


def told(figures: Figures) -> str:
    """One round in words."""
    memory = ", ".join(
        f"{role} {held[0]:.0f} to {max(held):.0f} ({slope(range(len(held)), held) * 60:+.1f} a minute in the second half)"
        for role, held in figures["rss_mb"].items()
    )
    return (
        f"{figures['sent']:,} jobs for a worker that does {figures['peak']:,.0f}/s: {figures['statuses']}; "
        f"{figures['per_second']:,.0f}/s in time, {figures['of_peak']:.2f} of the peak, {figures['late']:,.0f}/s too late; "
        f"RSS in MB: {memory}"
    )


def _came_of_it(settings: Settings, begin: float, deadline: float, seconds: float) -> Figures:
    """From all outcomes of jobs that were submitted since ``begin``."""
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
    counted = seconds - _SETTLE
    return {"per_second": in_time / counted, "late": late / counted, "statuses": dict(statuses)}


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
