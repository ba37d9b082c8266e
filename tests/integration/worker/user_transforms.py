"""Transforms as a user writes them, for the worker's tests; loaded by the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Picky:
    """Scales in place, and raises on a batch with a value below zero in it."""

    def preprocess(self, inputs: Arrays) -> Arrays:
        inputs["x"] *= 100
        if (inputs["x"] < 0).any():
            raise ValueError("x must be at least 0")
        return inputs


class Words:
    """Takes words and gives words: their lengths go through the model."""

    inputs = {"word": ("BYTES", (-1,))}  # noqa: RUF012 - as a user writes it
    outputs = {"said": ("BYTES", (-1,))}  # noqa: RUF012 - likewise

    def preprocess(self, inputs: Arrays) -> Arrays:
        lengths = np.array([len(word) for word in inputs["word"]], np.float32)
        return {"x": np.repeat(lengths[:, np.newaxis], 4, axis=1)}

    def postprocess(self, outputs: Arrays) -> Arrays:
        said = np.empty(len(outputs["y"]), object)
        said[:] = [f"{row[0]:g} bytes".encode() for row in outputs["y"]]
        return {"said": said}
