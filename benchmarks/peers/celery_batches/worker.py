"""Celery's application with a task of celery-batches, that answers each job of a batch by itself.

https://celery-batches.readthedocs.io/en/latest/how_it_works.html: what is fetched ahead must be more than a batch.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init
from celery_batches import Batches

from benchmarks.peers.model import ROWS, Model

BATCH = min(ROWS, 512)

app = Celery("peer", broker=os.environ["PEER_BROKER"], backend=os.environ["PEER_RESULTS"])
app.conf.update(
    task_serializer="msgpack",
    result_serializer="msgpack",
    accept_content=["msgpack"],
    result_expires=86_400,
    task_acks_late=True,
    worker_prefetch_multiplier=2 * BATCH,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)
loaded: list[Model] = []


@worker_init.connect
def load(**_: object) -> None:
    loaded.append(Model())


@app.task(base=Batches, flush_every=BATCH, flush_interval=0.01)
def infer(requests: list[Any]) -> None:
    answers = loaded[0].of_bytes([request.args[0] for request in requests])
    for request, answer in zip(requests, answers, strict=True):
        app.backend.mark_as_done(request.id, answer, request=request)
