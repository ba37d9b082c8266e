"""The application of the peer Celery with a task of celery-batches, that answers each job of a batch by itself.

https://celery-batches.readthedocs.io/en/latest/how_it_works.html: what is fetched ahead must be more than a batch.
"""

from __future__ import annotations

from typing import Any

from celery_batches import Batches

from benchmarks.peers.celery.worker import app, loaded
from benchmarks.peers.model import ROWS

BATCH = min(ROWS, 512)

app.conf.worker_prefetch_multiplier = 2 * BATCH


@app.task(base=Batches, flush_every=BATCH, flush_interval=0.01)
def infer(requests: list[Any]) -> None:
    answers = loaded[0].of_bytes([request.args[0] for request in requests])
    for request, answer in zip(requests, answers, strict=True):
        app.backend.mark_as_done(request.id, answer, request=request)
