"""Owns the study of failures: ``python -m benchmarks.failing`` drains a backlog of good jobs, and one in which some fail.

What fails has a tensor that does not fit its model: a dead letter with its evidence, and a ``failed`` outcome, for each.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import redis
from confluent_kafka import Consumer, TopicPartition

from benchmarks.results import Figures, Found, keep, middle, ratios
from benchmarks.site import Site, fill, open_site
from benchmarks.streams import FLEET
from benchmarks.works import WORKS
from penstock.topics import TopicManager
from penstock_schemas.jobs import encode_job
from penstock_schemas.settings import Settings

GOOD: Final = "all succeed"
FAILING: Final = "some fail"
_WORK: Final = WORKS["mlp"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-in", type=int, default=20, help="jobs of which one fails")
    parser.add_argument("--jobs", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: Found = {GOOD: [], FAILING: []}
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        for number in range(options.rounds + 1):
            for kind, one_in in ((GOOD, 0), (FAILING, options.one_in)):
                figures = one(site, f"failing-{number}-{one_in}", options.jobs, one_in)
                if number:
                    found[kind].append(figures)
                counted = f"round {number}" if number else "not counted"
                print(f"{counted}: {kind}, {figures['per_second']:,.0f} jobs/s", flush=True)
    for kind, rounds in found.items():
        print(f"{kind}: {middle(rounds, 'per_second'):,.0f} jobs/s")
    each = ratios(found[FAILING], found[GOOD])
    print(f"{median(each):.2f} of the rate without failures (rounds: {', '.join(f'{x:.2f}' for x in sorted(each))})")
    keep(options.json, options, found)


def one(site: Site, fleet: str, jobs: int, one_in: int) -> Figures:
    """One backlog's figures. Raises RuntimeError where there are not as many dead letters as jobs that fail."""
    settings = site.settings(fleet, _WORK)
    topics = TopicManager(settings)
    topics.apply()
    good, bad = _WORK.value(), encode_job({"x": np.zeros((1, 33), np.float32)}, model_name=_WORK.model)
    fill(
        site.kafka.bootstrap, settings.names.jobs(), _WORK, jobs, lambda number: bad if one_in and not number % one_in else good
    )
    with redis.Redis.from_url(site.store.url) as store:
        store.flushall()
    figures = FLEET.drain(site, settings, _WORK, jobs)
    dead, wanted = _dead(settings), -(-jobs // one_in) if one_in else 0
    if dead != wanted:
        raise RuntimeError(f"{dead:,} dead letters of {wanted:,} jobs that fail")
    topics.delete()
    return figures


def _dead(settings: Settings) -> int:
    """Records in the dead topic."""
    consumer: Any = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "failing"})
    topic = settings.names.dead
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), 10)[1] for number in partitions]
    consumer.close()
    return sum(ends)


if __name__ == "__main__":
    main()
