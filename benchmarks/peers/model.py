"""Owns what every peer does alike: load the saved model, call it on a batch, and read what it was told by its environment.

A peer runs in an environment of its own, so this imports numpy and TensorFlow only. ``PEER_MODEL`` is a SavedModel's folder,
``PEER_ROWS`` the rows that it may batch, ``PEER_ROW`` a row's shape in JSON, ``PEER_PORT`` where a server listens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

ROWS = int(os.environ.get("PEER_ROWS", "1"))
PORT = int(os.environ.get("PEER_PORT", "0"))
SHAPE = tuple(json.loads(os.environ.get("PEER_ROW", "[]")))


class Model:
    """The model's concrete function, called once with the largest batch so that no request waits for it."""

    def __init__(self) -> None:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import tensorflow as tf

        self._constant = tf.constant
        self._function: Any = tf.saved_model.load(os.environ["PEER_MODEL"]).signatures["serving_default"]
        self(np.zeros((ROWS, *SHAPE), np.float32))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """FP32 rows of the model's shape, one answer each."""
        answers: np.ndarray = self._function(x=self._constant(rows))["y"].numpy()
        return answers

    def of_bytes(self, rows: Sequence[bytes]) -> list[bytes]:
        """Rows as their bytes, and answers likewise."""
        return [answer.tobytes() for answer in self(np.frombuffer(b"".join(rows), np.float32).reshape(-1, *SHAPE))]
