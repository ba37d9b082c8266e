"""A Quix Streams application: ``worker.py BOOTSTRAP TOPIC OUT REDIS``.

Its way to work in batches is a sink of its own (https://quix.io/docs/quix-streams/connectors/sinks/custom-sinks.html), written
at each checkpoint: after as many records as the model batches, or 10 ms. Offsets are committed after that.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import islice

import redis
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.peers.model import ROWS, Model
from benchmarks.peers.records import job_of, outcome_of

bootstrap, topic, out, url = sys.argv[1:]


class Infer(BatchingSink):
    def __init__(self, application: Application) -> None:
        super().__init__()
        self._model, self._store = Model(), redis.Redis.from_url(url)
        self._producer = application.get_producer()

    def write(self, batch: SinkBatch) -> None:
        items = iter(batch)
        while some := list(islice(items, ROWS)):
            jobs = [job_of(item.key, item.value, lambda item=item: item.headers) for item in some]
            pipeline = self._store.pipeline(transaction=False)
            for (job_id, _), answer in zip(jobs, self._model.of_bytes([row for _, row in jobs]), strict=True):
                outcome = outcome_of(job_id, answer)
                self._producer.produce(out, outcome, job_id)
                pipeline.set(f"peer:result:{job_id}", outcome, ex=86_400)
            pipeline.execute()
        self._producer.flush(30)


if __name__ == "__main__":
    application = Application(
        broker_address=bootstrap,
        consumer_group=f"{topic}.quix",
        auto_offset_reset="earliest",
        commit_every=ROWS,
        commit_interval=0.01,
        auto_create_topics=False,
        state_dir=tempfile.mkdtemp(prefix="quix-"),
        loglevel="ERROR",
    )
    jobs = application.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    application.dataframe(jobs).sink(Infer(application))
    application.run()
