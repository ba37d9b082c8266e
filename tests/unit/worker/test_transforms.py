"""Transforms are checked when they are loaded, and what they raise is told as theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.unit.worker.making import DOUBLE

from penstock_worker.engine.backend import Arrays, ModelUnreadableError, OutOfMemoryError
from penstock_worker.engine.signature import Port
from penstock_worker.engine.transforms import Transform, TransformError

HERE = __name__


class Nothing:
    pass


class Halve:
    def preprocess(self, inputs: Arrays) -> Arrays:
        return {"x": inputs["x"] / 2}


class Lengths:
    inputs = {"text": ("BYTES", (-1,))}  # noqa: RUF012 - as a user writes it
    outputs = {"label": ["BYTES", [-1]]}  # noqa: RUF012 - likewise

    def postprocess(self, outputs: Arrays) -> Arrays:
        return {"label": outputs["y"]}


class Raises:
    def preprocess(self, inputs: Arrays) -> Arrays:
        raise KeyError("jpeg")

    def postprocess(self, outputs: Arrays) -> Any:
        return [outputs]


class Hungry:
    def preprocess(self, inputs: Arrays) -> Arrays:
        raise MemoryError


class WrongKind:
    inputs = {"x": ("FLOAT", (-1,))}  # noqa: RUF012 - as a user writes it

    def preprocess(self, inputs: Arrays) -> Arrays:
        return inputs


class WrongShape:
    inputs = ("x", "y")

    def preprocess(self, inputs: Arrays) -> Arrays:
        return inputs


class Unmade:
    def __init__(self) -> None:
        raise RuntimeError("no vocabulary")


def load(name: str) -> Transform:
    return Transform(f"{HERE}:{name}")


def test_a_hook_that_is_not_there_changes_nothing() -> None:
    halve = load("Halve")
    inputs = {"x": np.ones((2, 4), np.float32)}
    assert halve.before(inputs, 2)["x"].tolist() == [[0.5] * 4] * 2
    assert halve.after(inputs, 2, ["x"]) == inputs
    assert halve.facade(DOUBLE) == DOUBLE


def test_what_jobs_see_is_what_the_transform_declares() -> None:
    facade = load("Lengths").facade(DOUBLE)
    assert facade.inputs == {"text": Port("BYTES", (-1,))}
    assert facade.outputs == {"label": Port("BYTES", (-1,))}
    assert facade.batched


def test_what_a_hook_raises_or_returns_amiss_is_the_transforms_error() -> None:
    raises = load("Raises")
    with pytest.raises(TransformError, match="preprocess raised KeyError: 'jpeg'"):
        raises.before({}, 1)
    with pytest.raises(TransformError, match="postprocess returned list, not a dict of arrays"):
        raises.after({}, 1, [])
    with pytest.raises(OutOfMemoryError, match="preprocess ran out of memory"):
        load("Hungry").before({}, 1)
    with pytest.raises(TransformError, match="there is no output 'y' after postprocess, only x"):
        load("Halve").after({"x": np.ones(1)}, 1, ["y"])
    with pytest.raises(
        TransformError, match=r"preprocess returned 'x' with shape \[2, 4\] for 3 rows: axis 0 must be the rows"
    ):
        load("Halve").before({"x": np.ones((2, 4))}, 3)
    with pytest.raises(TransformError, match="postprocess returned 'label' as list, not as an array"):
        load("Lengths").after({"y": [1]}, 1, [])  # type: ignore[dict-item]  # what a user may do


def test_values_that_numpy_can_see_as_arrays_are_taken() -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
            return np.ones(2)

    after = load("Lengths").after({"y": Tensor()}, 2, ["label"])  # type: ignore[dict-item]  # what TensorFlow returns, say
    assert after["label"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module_anywhere:C", "cannot be loaded: ModuleNotFoundError"),
        (f"{HERE}:Missing", "cannot be loaded: AttributeError"),
        (f"{HERE}:Unmade", "cannot be loaded: RuntimeError: no vocabulary"),
        (f"{HERE}:Nothing", "has neither preprocess nor postprocess"),
        (f"{HERE}:WrongKind", "inputs 'x' has datatype 'FLOAT': one of BOOL"),
        (f"{HERE}:WrongShape", "inputs must be like"),
    ],
)
def test_a_transform_that_cannot_be_used_does_not_load(spec: str, message: str) -> None:
    with pytest.raises(ModelUnreadableError, match=message):
        Transform(spec)
