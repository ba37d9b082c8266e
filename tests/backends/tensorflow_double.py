"""The model of ``numpy_models`` for TensorFlow itself: it doubles ``x``, and misbehaves on rows that begin as they do there.

What a graph can do wrong, this one does: it refuses values, answers NaN, takes memory without end, and never comes back. What
ends a process is a transform's doing, in the same process. Run as a program, this saves the model:
``tensorflow_double.py FOLDER``, the folder of a version.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.backends.numpy_models import CRASHES, EATS, FLAKY_CRASH, HANGS, NAN, NO_MEMORY, REFUSED

_STEP = 50_000_000
_MOST_EATEN = 1_000_000_000
_BATCH_SECONDS = 0.04


class Misbehaving:
    """The transform. ``marks``, in the folder for temporary files, remembers which rows have crashed a process already."""

    def __init__(self) -> None:
        self._marks = Path(os.environ["TMPDIR"]) / "marks"

    def preprocess(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        x = inputs["x"]
        first = x[:, 0]
        if (first == NO_MEMORY).any():
            raise MemoryError("no room for this batch")  # TensorFlow itself tries again for ten seconds before it says so
        if (first == CRASHES).any():
            _crash()
        for row in x[first == FLAKY_CRASH]:
            mark = self._marks / "-".join(f"{value:g}" for value in row)
            if not mark.exists():
                mark.touch()
                _crash()
        if x.any():  # warm-up, which sends zeros, takes no time
            time.sleep(_BATCH_SECONDS)
        return inputs


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def save(folder: str) -> None:
    """Write the SavedModel. Input ``x`` FP32 [-1, 4]; outputs ``y`` FP32 [-1, 4] (twice x) and ``rows`` INT64 [-1]."""
    import tensorflow  # noqa: ICN001  # tf is its name with a type

    tf: Any = tensorflow  # it publishes no types

    def call(x: Any) -> dict[str, Any]:
        first = x[:, 0]

        def any_is(value: float) -> Any:
            return tf.reduce_any(tf.equal(first, value))

        refused = tf.debugging.assert_equal(any_is(REFUSED), False, message="x must not be -1")
        forever = tf.while_loop(lambda _: any_is(HANGS), lambda turns: (turns + 1,), (tf.constant(0),))
        eaten = tf.while_loop(
            lambda held: tf.logical_and(any_is(EATS), tf.size(held) < _MOST_EATEN),
            lambda held: (tf.concat([held, tf.ones([_STEP])], 0),),
            (tf.zeros([0]),),
            shape_invariants=(tf.TensorShape([None]),),
        )
        with tf.control_dependencies([refused, forever[0], tf.size(eaten[0])]):
            y = tf.where(tf.equal(first, NAN)[:, tf.newaxis], np.nan, x * 2)
        rows = tf.shape(x, tf.int64)[0]
        return {"y": y, "rows": tf.fill(tf.expand_dims(rows, 0), rows)}

    function = tf.function(call, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    module = tf.Module()
    module.serve = function
    tf.saved_model.save(module, folder, signatures={"serving_default": function})


if __name__ == "__main__":
    save(sys.argv[1])
