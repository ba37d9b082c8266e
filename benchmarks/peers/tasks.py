"""Submits jobs to a Celery application: ``python -m benchmarks.peers.tasks MODULE COUNT [RATE]``, the row in standard input.

One connection, one message a call, as a service would do it; job ids are the tasks' ids. With a rate, results are looked for
in Redis, and one line of JSON tells how long they took; without, jobs are submitted as fast as it goes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from benchmarks.peers.pacing import pace


def paced(infer: Any, producer: Any, row: bytes, rate: float, count: int) -> dict[str, Any]:
    import redis

    store = redis.Redis.from_url(os.environ["PEER_RESULTS"])
    waiting: dict[int, str] = {}

    def submit(number: int) -> None:
        infer.apply_async((row,), task_id=f"paced-{number}", producer=producer)
        waiting[number] = f"celery-task-meta-paced-{number}"

    def arrived() -> Iterator[int]:
        if not waiting:
            return
        numbers = list(waiting)
        for number, value in zip(numbers, store.mget(list(waiting.values())), strict=True):
            if value is not None:
                del waiting[number]
                yield number

    return pace(submit, arrived, rate, count)


def main(module: str, count: int, rate: float) -> None:
    infer = import_module(module).infer
    row = sys.stdin.buffer.read()
    with infer.app.producer_or_acquire() as producer:
        if rate:
            print(json.dumps(paced(infer, producer, row, rate, count)))
            return
        for number in range(count):
            infer.apply_async((row,), task_id=f"job-{number:09d}", producer=producer)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
