"""A FastStream application on its client of librdkafka: ``worker.py BOOTSTRAP TOPIC OUT REDIS``.

Batches in, batches out (https://faststream.ag2.ai/latest/confluent/Publisher/batch_publisher/); a decoder that leaves records
as they are; offsets are committed once the outcomes are in Kafka and Redis.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import redis.asyncio as redis
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaPublishMessage

from benchmarks.peers.model import ROWS, Model
from benchmarks.peers.records import job_of, outcome_of

bootstrap, topic, out, url = sys.argv[1:]
model = Model()
store = redis.Redis.from_url(url)
broker = KafkaBroker(bootstrap, apply_types=False, logger=None)
app = FastStream(broker, logger=logging.getLogger("peer"))


async def as_it_is(message: Any) -> list[tuple[str, bytes]]:
    return [job_of(record.key(), record.value(), record.headers) for record in message.raw_message]


@broker.subscriber(
    topic,
    batch=True,
    max_records=ROWS,
    polling_interval=0.01,
    group_id=f"{topic}.faststream",
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.ACK,
    decoder=as_it_is,
)
async def infer(jobs: list[tuple[str, bytes]]) -> None:
    answers = model.of_bytes([row for _, row in jobs])
    outcomes = [outcome_of(job_id, answer) for (job_id, _), answer in zip(jobs, answers, strict=True)]
    pipeline = store.pipeline(transaction=False)
    for (job_id, _), outcome in zip(jobs, outcomes, strict=True):
        pipeline.set(f"peer:result:{job_id}", outcome, ex=86_400)
    messages = [KafkaPublishMessage(outcome, key=job_id.encode()) for (job_id, _), outcome in zip(jobs, outcomes, strict=True)]
    await asyncio.gather(broker.publish_batch(*messages, topic=out), pipeline.execute())


if __name__ == "__main__":
    asyncio.run(app.run())
