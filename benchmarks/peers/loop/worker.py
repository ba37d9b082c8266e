"""The hand-written loop: ``worker.py BOOTSTRAP TOPIC OUT REDIS MODEL ROWS ROW_SHAPE``. Run as a process, like any worker.

It consumes a batch, makes one array of it, calls the model's concrete function, publishes an outcome for each job, writes
the results to Redis through one pipeline, and commits when Kafka has confirmed. What a fleet does besides it does not: no
retries, no dead letters, no isolation, no deadlines, no first-wins; one bad job ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import redis
import tensorflow as tf
from confluent_kafka import Consumer, Producer

RESULT_TTL = 86_400


def main(bootstrap: str, topic: str, out: str, url: str, model: str, rows: int, shape: list[int]) -> None:
    function = tf.saved_model.load(model).signatures["serving_default"]
    size = 4 * int(np.prod(shape))
    function(x=tf.zeros([rows, *shape]))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}.loop",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    consumer.subscribe([topic])
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    store = redis.Redis.from_url(url)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    while not stopped:
        first = consumer.poll(0.5)
        if first is None:
            continue
        messages = [first, *consumer.consume(rows - 1, 0)]
        ids, values = [], []
        for message in messages:
            value: Any = message.value()
            key: Any = message.key()
            if key is None:  # JSON, its id in a header
                body = json.loads(value)
                headers: Any = message.headers()
                ids.append(dict(headers)["ce_id"].decode())
                values.append(np.array(body["inputs"][0]["data"], np.float32))
            else:
                ids.append(key.decode())
                values.append(np.frombuffer(value[-size:], np.float32))
        answers = function(x=tf.constant(np.stack(values).reshape(-1, *shape)))["y"].numpy()
        pipeline = store.pipeline(transaction=False)
        for job_id, answer in zip(ids, answers, strict=True):
            head = {"id": job_id, "status": "succeeded", "model_name": "m", "shape": [1, len(answer)], "datatype": "FP32"}
            outcome = json.dumps(head).encode() + b"\n" + answer.tobytes()
            producer.produce(out, outcome, job_id)
            pipeline.set(f"loop:result:{job_id}", outcome, ex=RESULT_TTL)
        pipeline.execute()
        if producer.flush(30):
            raise SystemExit("Kafka does not take the outcomes")
        consumer.commit(asynchronous=True)
    consumer.close()


if __name__ == "__main__":
    bootstrap, topic, out, url, model, rows, shape = sys.argv[1:]
    main(bootstrap, topic, out, url, model, int(rows), json.loads(shape))
