"""Owns how a peer that reads Kafka understands a job, and what it answers: alike for all of them, and as cheap as it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.model import SHAPE

SIZE = 4 * int(np.prod(SHAPE))


def job_of(key: bytes | None, value: bytes, headers: Callable[[], Any]) -> tuple[str, bytes]:
    """A job's id and its row: a binary record with its id as key, or JSON with its id in a header."""
    if key is not None:
        return key.decode(), value[-SIZE:]
    row = json.loads(value)["inputs"][0]["data"]
    return dict(headers())["ce_id"].decode(), np.array(row, np.float32).tobytes()


def outcome_of(job_id: str, answer: bytes) -> bytes:
    """What is published and kept for a job."""
    head = {"id": job_id, "status": "succeeded", "model_name": "m", "shape": [1, len(answer) // 4], "datatype": "FP32"}
    return json.dumps(head).encode() + b"\n" + answer
