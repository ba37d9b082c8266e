"""Owns the comparison at low load: ``python -m benchmarks.quiet`` gives each subject jobs at a pace it does not notice.

From when a job is due until its result is in the caller's hands: read from Redis for those that leave it there, in its answer
for a server. Beside that, how long each took from its start to its first result, next to a bare process that imports
TensorFlow, loads the model and calls it; and what its processes hold. Interleaved, medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import redis

from benchmarks.processes import last_line
from benchmarks.results import Found, keep, middle
from benchmarks.site import Site, open_site
from benchmarks.subjects import PACED
from benchmarks.works import WORKS, Work
from penstock.topics import TopicManager

BARE: Final = "tensorflow"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", default="mlp", choices=list(WORKS))
    parser.add_argument("--subjects", nargs="+", default=["fleet", "loop"], choices=[*PACED, "all"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=50.0, help="jobs a second")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    subjects = list(PACED) if "all" in options.subjects else options.subjects
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        found = compare(site, WORKS[options.work], subjects, options.rounds, options.rate, options.jobs)
    print(table(found))
    keep(options.json, options, found)


def compare(site: Site, work: Work, subjects: Sequence[str], rounds: int, rate: float, count: int) -> Found:
    """``rounds`` rounds of all subjects, each with topics and a Redis of its own; a bare process's start among them."""
    found: Found = {name: [] for name in (BARE, *subjects)}
    argv = [sys.executable, "-m", "benchmarks.limits", "start", work.name, str(site.model(work.model) / "1")]
    for number in range(rounds):
        found[BARE].append(json.loads(last_line(argv)))
        for name in subjects:
            settings = site.settings(f"quiet-{name}-{number}", work)
            topics = TopicManager(settings)
            topics.apply()
            with redis.Redis.from_url(site.store.url) as store:
                store.flushall()
            figures = PACED[name].pace(site, settings, work, rate, count)
            topics.delete()
            found[name].append(figures)
            print(f"round {number + 1}: {name} p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms", flush=True)
    return found


def table(found: Found) -> str:
    """Medians over rounds."""
    bare = middle(found[BARE], "first_result_s")
    lines = [
        f"medians of {len(found[BARE])} rounds on {os.cpu_count()} cores; bare TensorFlow's first result after {bare:.2f} s"
    ]
    lines += [
        f"{name:<16}p50 {middle(figures, 'p50_ms'):>6.1f} ms  p95 {middle(figures, 'p95_ms'):>6.1f} ms  "
        f"p99 {middle(figures, 'p99_ms'):>6.1f} ms  first result {middle(figures, 'first_result_s'):>5.2f} s "
        f"({middle(figures, 'first_result_s') / bare:.2f} of bare)  RSS MB "
        + ", ".join(f"{role} {middle(figures, 'rss_mb', role):.0f}" for role in figures[0]["rss_mb"])
        for name, figures in found.items()
        if name != BARE
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
