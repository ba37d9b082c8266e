"""Owns the study of scaling: ``python -m benchmarks.scaling`` drains a backlog with one worker, and with more.

The model waits for 20 ms a batch without using the CPU, as one on an accelerator would (``benchmarks.accelerator``). Workers
serve before the jobs come; the rate is taken between a tenth and nine tenths of the results. Medians over rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import redis
from confluent_kafka.admin import AdminClient

from benchmarks.accelerator import SECONDS
from benchmarks.results import Figures, keep, middle, ratios
from benchmarks.site import Site, fill, open_site
from benchmarks.works import WORKS
from penstock.local.worker import LocalWorker
from penstock.topics import TopicManager
from penstock_schemas.settings import Settings

ROWS: Final = 64
"""Rows in a call: what a worker can do is this many in 20 ms."""
_PATIENCE: Final = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="how much work each worker gets")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[int, list[Figures]] = {count: [] for count in options.workers}
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        for number in range(options.rounds):
            for count in options.workers:
                rate = one(site, number, count, options.seconds)
                found[count].append({"per_second": rate})
                print(f"round {number + 1}: {count} workers, {rate:,.0f} jobs/s", flush=True)
    first = options.workers[0]
    for count, rounds in found.items():
        times = median(ratios(rounds, found[first])) * first
        print(f"{count} workers: {middle(rounds, 'per_second'):>9,.0f} jobs/s, {times:.2f} times one")
    keep(options.json, options, found)


def one(site: Site, number: int, count: int, seconds: float) -> float:
    """Jobs/s of ``count`` workers."""
    settings = accelerator_settings(site, f"scaling-{number}-{count}")
    jobs = int(count * seconds * ROWS / SECONDS)
    topics = TopicManager(settings)
    topics.apply()
    with ExitStack() as stack:
        store = stack.enter_context(redis.Redis.from_url(site.store.url))
        store.flushall()
        for role, index in [("project", 0), *(("work", index) for index in range(count))]:
            folder = site.folder / f"{settings.fleet}-{role}-{index}"
            folder.mkdir()
            worker = LocalWorker(settings, folder=folder, log=folder / "log", args=["--roles", role])
            worker.start()
            stack.callback(worker.stop)
        _await_shares(settings, count)
        fill(site.kafka.bootstrap, settings.names.jobs(), WORKS["mlp"], jobs)
        rate = drain_rate(store, settings.topics.outcome_partitions, jobs)
    topics.delete()
    return rate


def accelerator_settings(site: Site, fleet: str) -> Settings:
    """A fleet on accelerators that wait."""
    sections: dict[str, Any] = {
        "worker": {"queues": [""], "spare": "none", "backend": "benchmarks.accelerator"},
        "topics": {"job_partitions": 16},
        "models": {"mlp": {"path": str(site.model("mlp")), "max_batch_rows": ROWS}},
    }
    return site.settings(fleet, WORKS["mlp"], **sections)


def _await_shares(settings: Settings, count: int) -> None:
    """Until every worker has as many partitions of the jobs topic as the others, give or take one."""
    admin: Any = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    group, topic = settings.names.workers_group, settings.names.jobs()
    most = -(-settings.topics.job_partitions // count)
    begin = time.perf_counter()
    while True:
        members = admin.describe_consumer_groups([group])[group].result(10).members
        shares = [sum(one.topic == topic for one in member.assignment.topic_partitions) for member in members]
        if sum(shares) == settings.topics.job_partitions and max(shares) <= most:
            return
        if time.perf_counter() - begin > _PATIENCE:
            raise RuntimeError(f"the workers share {topic} as {shares}")
        time.sleep(0.2)


def drain_rate(store: Any, besides: int, jobs: int) -> float:
    """Jobs/s while a backlog of ``jobs`` is drained into an empty ``store``, between a tenth and nine tenths of it."""
    marks: dict[int, tuple[float, int]] = {}
    begin = time.perf_counter()
    while len(marks) < 2:
        done, now = int(store.dbsize()) - besides, time.perf_counter()
        for part in (10, 90):
            if part not in marks and done >= jobs * part / 100:
                marks[part] = now, done
        if now - begin > _PATIENCE:
            raise RuntimeError(f"{done:,} of {jobs:,} jobs are done after {_PATIENCE:.0f} s")
        time.sleep(0.02)
    (before, some), (after, most) = marks[10], marks[90]
    return (most - some) / (after - before)


if __name__ == "__main__":
    main()
