"""Owns the example model: a small CNN that tells scikit-learn's handwritten digits apart.

    python examples/digits/train.py models/digits/1 [--held-out held-out.npz]

trains on two thirds of the 1,797 scans (seconds on a CPU) and writes a SavedModel: signature ``serving_default``, input
``image`` FP32 [-1, 8, 8] (grey levels 0 to 16, as the scans come), output ``probabilities`` FP32 [-1, 10]. ``--held-out``
writes the other third, which the model never saw, as arrays ``images`` float32 (n, 8, 8) and ``labels`` int64 (n,).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 7
HELD_OUT = 600
EPOCHS = 15
BATCH_ROWS = 64


def main() -> None:
    """Read the arguments, train, write."""
    parser = argparse.ArgumentParser(description="Train the digits model.")
    parser.add_argument("folder", type=Path, help="where the SavedModel goes, such as models/digits/1")
    parser.add_argument("--held-out", type=Path, metavar="FILE.npz", help="write the scans that were not trained on")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads, which else speaks of what nobody asked
    images, labels = scans()
    held_out: Path | None = arguments.held_out
    if held_out is not None:
        np.savez(held_out, images=images[:HELD_OUT], labels=labels[:HELD_OUT])
    model = train(images[HELD_OUT:], labels[HELD_OUT:])
    export(model, arguments.folder)


def scans() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All scans in a fixed, shuffled order: images float32 (1797, 8, 8) of 0 to 16, labels int64 (1797,)."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    return digits.images[order].astype(np.float32), digits.target[order].astype(np.int64)


def train(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
    """A trained Keras model from images (n, 8, 8) to probabilities (n, 10)."""
    import keras

    keras.utils.set_random_seed(SEED)
    model: Any = keras.Sequential(
        [
            keras.Input((8, 8), name="image"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=BATCH_ROWS, epochs=EPOCHS, verbose=0)
    return model


def export(model: Any, folder: Path) -> None:
    """Write the model as a SavedModel with names that a caller can guess."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None, 8, 8], tf.float32, name="image")]

    def serve(image: Any) -> dict[str, Any]:
        return {"probabilities": model(image, training=False)}

    # The Keras model itself is left out: its optimiser is of no use to a server.
    module: Any = tf.Module()
    module.variables_kept = model.variables
    tf.saved_model.save(module, str(folder), signatures={"serving_default": tf.function(serve, input_signature=signature)})


if __name__ == "__main__":
    main()
