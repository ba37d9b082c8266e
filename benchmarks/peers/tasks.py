"""Submits jobs to a Celery application: ``python -m benchmarks.peers.tasks MODULE COUNT``, the row in standard input.

One connection, one message a call, as a service would do it; job ids are the tasks' ids.
"""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    name, count = sys.argv[1:]
    infer = import_module(name).infer
    row = sys.stdin.buffer.read()
    with infer.app.producer_or_acquire() as producer:
        for number in range(int(count)):
            infer.apply_async((row,), task_id=f"job-{number:09d}", producer=producer)
