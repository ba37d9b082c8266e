"""Owns the benchmark's model: an MLP 32-128-64-1 with random weights, saved as a SavedModel. Run as a process."""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf


def save(path: str) -> None:
    """Write the model to ``path`` (a version's folder). Input ``x`` FP32 [-1, 32], output ``y`` FP32 [-1, 1]."""
    network: Any = tf.keras.Sequential(
        [
            tf.keras.Input((32,), name="x"),
            tf.keras.layers.Dense(128, activation="relu"),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(1),
        ]
    )

    def call(x: Any) -> dict[str, Any]:
        return {"y": network(x)}

    serve = tf.function(call, input_signature=[tf.TensorSpec([None, 32], tf.float32, name="x")])
    tf.saved_model.save(network, path, signatures={"serving_default": serve})


if __name__ == "__main__":
    save(sys.argv[1])
