"""Owns the benchmarks' models, saved as SavedModels with random weights: ``python -m benchmarks.models NAME FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import tensorflow as tf


def mlp() -> Any:
    """32-128-64-1. Input FP32 [-1, 32], output [-1, 1]."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [tf.keras.Input((32,)), layers.Dense(128, activation="relu"), layers.Dense(64, activation="relu"), layers.Dense(1)]
    )


def cnn() -> Any:
    """A small one for images. Input FP32 [-1, 32, 32, 3], output [-1, 10]."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((32, 32, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def mobilenet() -> Any:
    """MobileNetV2. Input FP32 [-1, 224, 224, 3], output [-1, 1000]."""
    return tf.keras.applications.MobileNetV2(weights=None, classifier_activation=None)


MODELS: Final[Mapping[str, Callable[[], Any]]] = {"mlp": mlp, "cnn": cnn, "mobilenet": mobilenet}


def save(name: str, folder: str) -> None:
    """Write the model to ``folder`` (a version's): input ``x``, output ``y``."""
    network = MODELS[name]()

    def call(x: Any) -> dict[str, Any]:
        return {"y": network(x, training=False)}

    shape = [None, *network.input_shape[1:]]
    serve = tf.function(call, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    tf.saved_model.save(network, folder, signatures={"serving_default": serve})


if __name__ == "__main__":
    save(*sys.argv[1:])
