"""Owns the limits: what bare TensorFlow and a bare consume-produce echo do on these cores. Each runs as a process.

``python -m benchmarks.limits tensorflow WORK MODEL`` prints rows/s at the best of some batch sizes, ``… start WORK MODEL``
the seconds from the process's begin to its first answer, and what it holds then;
``… echo BOOTSTRAP TOPIC OUT COUNT BYTES`` prints records/s and CPU µs a record. Both print one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import TICK, rss_mb
from benchmarks.works import WORKS, Work


def bare_tensorflow(work: Work, path: str, seconds: float = 1.0) -> dict[str, Any]:
    """Rows/s of the model's concrete function by batch size, ``seconds`` each, numpy in and numpy out."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    function = tf.saved_model.load(path).signatures["serving_default"]
    rates: dict[int, float] = {}
    for rows in work.batches:
        x = np.random.default_rng(0).normal(size=(rows, *work.row)).astype(np.float32)
        function(x=tf.constant(x))
        calls, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            function(x=tf.constant(x))["y"].numpy()
            calls += 1
        rates[rows] = calls * rows / spent
    best = max(rates, key=lambda rows: rates[rows])
    return {"per_second": rates[best], "batch_rows": best, "by_batch_rows": {k: round(v) for k, v in rates.items()}}


def bare_start(work: Work, path: str) -> dict[str, Any]:
    """Seconds from this process's begin until the model has answered one row, and its memory in MB of 2**20 bytes."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.saved_model.load(path).signatures["serving_default"](x=tf.zeros([1, *work.row]))["y"].numpy()
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / TICK
    return {"first_result_s": time.clock_gettime(time.CLOCK_BOOTTIME) - started, "rss_mb": rss_mb({"parent": os.getpid()})}


def bare_echo(bootstrap: str, topic: str, out: str, count: int, size: int) -> dict[str, Any]:
    """Consume ``count`` records and produce one of ``size`` bytes for each, batch by batch, every delivery confirmed."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"echo-{os.getpid()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
        }
    )
    partitions = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000}
    )
    confirmed = 0

    def on_delivery(error: object, _message: object) -> None:
        nonlocal confirmed
        assert error is None, error
        confirmed += 1

    body = os.urandom(size)
    taken = 0
    begin = cpu = 0.0
    while taken < count:
        first = consumer.poll(5)
        assert first is not None, "the backlog is not there"
        if not begin:
            begin, cpu = time.perf_counter(), time.process_time()
        messages = [first, *consumer.consume(2047, 0)]
        for message in messages:
            producer.produce(out, body, message.key(), on_delivery=on_delivery)
        producer.poll(0)
        taken += len(messages)
    producer.flush()
    spent = time.perf_counter() - begin
    assert confirmed == taken
    consumer.close()
    return {"per_second": taken / spent, "cpu_us": {"echo": (time.process_time() - cpu) / taken * 1e6}}


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "start":
        print(json.dumps(bare_start(WORKS[arguments[0]], arguments[1])))
    elif kind == "tensorflow":
        print(json.dumps(bare_tensorflow(WORKS[arguments[0]], arguments[1])))
    else:
        bootstrap, topic, out, count, size = arguments
        print(json.dumps(bare_echo(bootstrap, topic, out, int(count), int(size))))
