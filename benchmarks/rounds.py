"""Owns the comparison: ``python -m benchmarks.rounds`` runs subjects in turn, round after round, on the same work and cores.

Interleaved, since such a machine differs from minute to minute; the first round is not counted, since the broker's JVM
compiles what runs often, and whoever comes first would pay for it. ``--json FILE`` keeps every figure.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import redis

from benchmarks.results import Found, keep, middle, ratios
from benchmarks.site import Site, fill, open_site
from benchmarks.subjects import SUBJECTS
from benchmarks.works import WORKS, Work
from penstock.topics import TopicManager


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", nargs="+", default=["mlp"], choices=list(WORKS))
    parser.add_argument("--subjects", nargs="+", default=["tensorflow", "echo", "fleet"], choices=[*SUBJECTS, "all"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=float, default=1.0, help="this part of each work's jobs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    subjects = list(SUBJECTS) if "all" in options.subjects else options.subjects
    results: dict[str, Found] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name, open_site(Path(name)) as site:
        for work in (WORKS[name] for name in options.works):
            results[work.name] = compare(site, work, subjects, options.rounds, int(work.jobs * options.jobs))
            print_work(work, results[work.name])
    keep(options.json, options, results)


def compare(site: Site, work: Work, subjects: Sequence[str], rounds: int, jobs: int) -> Found:
    """``rounds`` rounds of all subjects, and one before that is not counted; each with topics and a Redis of its own."""
    found: Found = {name: [] for name in subjects}
    for number in range(rounds + 1):
        settings = site.settings(f"bench-{work.name}-{number}", work)
        topics = TopicManager(settings)
        topics.apply()
        fill(site.kafka.bootstrap, settings.names.jobs(), work, jobs)
        for name in subjects:
            with redis.Redis.from_url(site.store.url) as store:
                store.flushall()
            figures = SUBJECTS[name].drain(site, settings, work, jobs)
            if number:
                found[name].append(figures)
            counted = f"round {number}" if number else "not counted"
            print(f"{work.name}, {counted}: {name} {figures['per_second']:,.0f}/s", flush=True)
        topics.delete()
    return found


def print_work(work: Work, found: Found) -> None:
    """Medians, and what they are to each other."""
    print(f"\n{work.title}: medians of {len(next(iter(found.values())))} rounds on {os.cpu_count()} cores")
    for name, figures in found.items():
        cpu = {role: middle(figures, "cpu_us", role) for role in figures[0].get("cpu_us", {})}
        rss = {role: middle(figures, "rss_mb", role) for role in figures[0].get("rss_mb", {})}
        told = f"CPU µs a job {sum(cpu.values()):.1f} ({', '.join(f'{k} {v:.1f}' for k, v in cpu.items())})" if cpu else ""
        held = f"; RSS MB {', '.join(f'{k} {v:.0f}' for k, v in rss.items())}" if rss else ""
        print(f"{name:<12}{middle(figures, 'per_second'):>12,.0f}/s  {told}{held}")
    for name, figures in found.items():
        if "fleet" in found and name != "fleet":
            each = ratios(found["fleet"], figures)
            print(f"fleet / {name:<12}{median(each):>8.2f}  (rounds: {', '.join(f'{one:.2f}' for one in sorted(each))})")
    print(flush=True)


if __name__ == "__main__":
    main()
