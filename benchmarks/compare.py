"""Owns the comparison: bare TensorFlow, a bare echo and the fleet, in turn, on the same model, records and cores.

Prints a table and, with ``--json FILE``, writes the figures. Services are started for the run and ended with it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import redis
from confluent_kafka import Producer

from penstock.local import ApacheKafka, LocalRedis
from penstock.topics import TopicManager
from penstock_schemas.jobs import encode_job
from penstock_schemas.settings import Settings, load_settings

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
OUTCOME_BYTES = 340


def fill(bootstrap: str, topic: str, count: int) -> None:
    """Put ``count`` jobs of one row and 128 bytes of tensor into ``topic``: headerless, binary, the id as the key."""
    row = np.random.default_rng(1).normal(size=(1, 32)).astype(np.float32)
    value = encode_job({"x": row}, model_name="mlp")
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    for i in range(count):
        while True:
            try:
                producer.produce(topic, value, b"job-%09d" % i)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(60):
        raise RuntimeError("Kafka did not take the jobs within a minute")


def limit(*arguments: str) -> dict[str, Any]:
    ran = subprocess.run([sys.executable, str(HERE / "limits.py"), *arguments], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def fleet(settings: Settings, folder: Path, count: int, services: dict[str, int]) -> dict[str, Any]:
    """Drain ``count`` waiting jobs with one worker: jobs/s from the first result readable to the last, and CPU by process.

    ``services``: process ids of what else works on them.
    """
    store = redis.Redis.from_url(settings.redis.url)
    config = folder / "penstock.json.toml"
    config.write_text(_toml(settings))
    worker = subprocess.Popen(
        [sys.executable, "-m", "penstock_worker", "--config", str(config)], stderr=(folder / "worker.log").open("wb")
    )
    try:
        positions = settings.topics.outcome_partitions
        begin = first = 0.0
        before: dict[str, float] = {}
        while True:
            done = int(store.dbsize()) - positions
            now = time.perf_counter()
            if done > 0 and not begin:
                begin, first, before = now, done, _cpu(_family(worker.pid) | services)
            if done >= count:
                break
            if worker.poll() is not None:
                raise RuntimeError(f"the worker ended: {(folder / 'worker.log').read_text()[-2000:]}")
            time.sleep(0.05)
        spent = now - begin
        used = {
            name: (seconds - before.get(name, 0.0)) / (count - first) * 1e6
            for name, seconds in _cpu(_family(worker.pid) | services).items()
        }
        return {"per_second": (count - first) / spent, "cpu_us": used, "rss_mb": _rss(_family(worker.pid))}
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        store.close()


def _toml(settings: Settings) -> str:
    return "\n".join(
        [
            f'fleet = "{settings.fleet}"',
            f'[kafka]\nbootstrap_servers = "{settings.kafka.bootstrap_servers}"',
            f'[redis]\nurl = "{settings.redis.url}"',
            '[worker]\nspare = "none"',  # else TensorFlow is imported once more while the clock runs
            *(
                f'[models.{name}]\npath = "{model.path}"\nmax_batch_rows = {model.max_batch_rows}'
                for name, model in settings.models.items()
            ),
        ]
    )


def _family(pid: int) -> dict[str, int]:
    """The worker's processes by what they do."""
    found = {"parent": pid}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found["engine" if "penstock_worker.engine" in command else "projector"] = int(stat.parent.name)
    return found


def _cpu(processes: dict[str, int]) -> dict[str, float]:
    """CPU seconds so far, by process."""
    used: dict[str, float] = {}
    for name, member in processes.items():
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / TICK
    return used


def _rss(processes: dict[str, int]) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for name, member in processes.items():
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{member}/status").read_text().splitlines())
        sizes[name] = int(lines["VmRSS"].split()[0]) / 1024
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        kafka, store = ApacheKafka(folder / "kafka"), LocalRedis(folder / "redis")
        kafka.start()
        store.start()
        try:
            results = rounds(folder, kafka, store, options.jobs, options.rounds)
        finally:
            kafka.stop()
            store.stop()
    report(results, options.jobs)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))


def rounds(folder: Path, kafka: ApacheKafka, store: LocalRedis, jobs: int, count: int) -> list[dict[str, Any]]:
    """``count`` rounds of all three, and one that is not counted before; each with its own fleet and an empty Redis."""
    model = folder / "models" / "mlp"
    subprocess.run([sys.executable, str(HERE / "model.py"), str(model / "1")], check=True, capture_output=True)
    results: list[dict[str, Any]] = []
    for number in range(count + 1):
        settings = load_settings(
            fleet=f"bench-{number}",
            kafka={"bootstrap_servers": kafka.bootstrap},
            redis={"url": store.url},
            worker={"queues": ["", "echo"]},  # a topic for the echo to write to, which the fleet does not read
            models={"mlp": {"path": str(model), "max_batch_rows": 2048}},
        )
        topics = TopicManager(settings)
        topics.apply()
        fill(kafka.bootstrap, settings.names.jobs(), jobs)
        one = {
            "tensorflow": limit("tensorflow", str(model / "1")),
            "echo": limit(
                "echo", kafka.bootstrap, settings.names.jobs(), settings.names.jobs("echo"), str(jobs), str(OUTCOME_BYTES)
            ),
            "fleet": fleet(settings, folder, jobs, {"Redis": store.pid, "Kafka": kafka.pid}),
        }
        if number:  # the first round warms up the broker's JVM, which else costs whoever comes first
            results.append(one)
        rates = ", ".join(f"{key} {value['per_second']:,.0f}/s" for key, value in one.items())
        print(f"round {number}{'' if number else ' (not counted)'}: {rates}", flush=True)
        topics.delete()
        with redis.Redis.from_url(store.url) as connection:
            connection.flushall()
    return results


def report(results: list[dict[str, Any]], jobs: int) -> None:
    """Medians and ratios."""
    rate = {key: median(one[key]["per_second"] for one in results) for key in results[0]}
    cpu = {key: median(one["fleet"]["cpu_us"].get(key, 0.0) for one in results) for key in results[0]["fleet"]["cpu_us"]}
    rss = {key: median(one["fleet"]["rss_mb"].get(key, 0.0) for one in results) for key in results[0]["fleet"]["rss_mb"]}
    echo_cpu = median(one["echo"]["cpu_us"] for one in results)
    print(f"\n{jobs:,} jobs of one row (MLP 32-128-64-1), {os.cpu_count()} cores, median of {len(results)} rounds")
    print(f"bare TensorFlow   {rate['tensorflow']:>12,.0f} rows/s")
    print(f"bare echo         {rate['echo']:>12,.0f} records/s, {echo_cpu:.1f} µs CPU a record")
    print(f"the fleet         {rate['fleet']:>12,.0f} jobs/s into Redis")
    print(f"fleet / echo      {median(one['fleet']['per_second'] / one['echo']['per_second'] for one in results):>12.2f}")
    print(f"fleet / TensorFlow{median(one['fleet']['per_second'] / one['tensorflow']['per_second'] for one in results):>12.2f}")
    ours = sum(value for key, value in cpu.items() if key not in ("Redis", "Kafka"))
    print(f"CPU µs a job      {ours:>12.1f} over our processes  (" + ", ".join(f"{k} {v:.1f}" for k, v in cpu.items()) + ")")
    print("RSS MB            " + ", ".join(f"{k} {v:.0f}" for k, v in rss.items()))


if __name__ == "__main__":
    main()
