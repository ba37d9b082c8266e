"""Celery's application, as its guides to optimizing and to tasks tune it, in one process.

Late acknowledgement, more messages fetched ahead, no events, nothing sent that nobody asked for. The pool is ``solo``: what
runs a job holds the model. https://docs.celeryq.dev/en/stable/userguide/optimizing.html
"""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_init

from benchmarks.peers.model import Model

app = Celery("peer", broker=os.environ["PEER_BROKER"], backend=os.environ["PEER_RESULTS"])
app.conf.update(
    task_serializer="msgpack",
    result_serializer="msgpack",
    accept_content=["msgpack"],
    result_expires=86_400,
    task_acks_late=True,
    worker_prefetch_multiplier=256,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)
loaded: list[Model] = []


@worker_init.connect
def load(**_: object) -> None:
    loaded.append(Model())


@app.task
def infer(row: bytes) -> bytes:
    return loaded[0].of_bytes([row])[0]
