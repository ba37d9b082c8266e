"""Owns pre- and post-processing: the user's class that stands between what jobs send and what a model takes.

A transform is any class that is made without arguments and has either or both of::

    def preprocess(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]
    def postprocess(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]

Both see a whole batch, rows along axis 0, and must keep the number and the order of rows. What jobs send and get where it
differs from the model's own inputs and outputs is declared in class attributes of OIP datatypes and shapes::

    inputs = {"jpeg": ("BYTES", (-1,))}
    outputs = {"label": ("BYTES", (-1,))}

It runs in the engine. What it raises is the error of the job that made it raise, and ends it; but :class:`Retry` says that
what was wrong will pass, and the job is tried again later.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from penstock_schemas.datatypes import DATATYPES
from penstock_worker.engine.backend import Arrays, ModelUnreadableError, OutOfMemoryError
from penstock_worker.engine.signature import Port, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOOKS: Final = ("preprocess", "postprocess")


class TransformError(Exception):
    """A transform raised; the message says which hook and what."""


class Retry(Exception):
    """A user's transform raises it: what it needs is not there for now, so the jobs are to be tried again later.

    A batch is split as after any error, and only jobs that raise it by themselves are put off; that costs an attempt.
    """


class Transform:
    """A user's transform, checked when it is loaded."""

    def __init__(self, spec: str) -> None:
        """Load ``module:Class``. Raises :class:`ModelUnreadableError` where that does not work."""
        module, _, name = spec.partition(":")
        try:
            self._transform = getattr(importlib.import_module(module), name)()
        except Exception as error:
            raise ModelUnreadableError(f"transform {spec} cannot be loaded: {type(error).__name__}: {error}") from error
        if not any(callable(getattr(self._transform, hook, None)) for hook in _HOOKS):
            raise ModelUnreadableError(f"transform {spec} has neither preprocess nor postprocess")
        self._inputs = _ports(spec, "inputs", getattr(self._transform, "inputs", None))
        self._outputs = _ports(spec, "outputs", getattr(self._transform, "outputs", None))

    def facade(self, signature: Signature) -> Signature:
        """What jobs see of a model with ``signature``."""
        return Signature(self._inputs or signature.inputs, self._outputs or signature.outputs)

    def before(self, inputs: Arrays, rows: int | None) -> Arrays:
        """The model's inputs for jobs' ``inputs``, ``rows`` rows each (None: no rows run along axis 0).

        The hook gets a copy: a batch that fails is split and run again, and what was changed in place must not be there.
        """
        return self._apply("preprocess", {name: array.copy() for name, array in inputs.items()}, rows)

    def after(self, outputs: Arrays, rows: int | None, wanted: Iterable[str]) -> Arrays:
        """Jobs' outputs for the model's; those named in ``wanted`` must be among them."""
        result = self._apply("postprocess", outputs, rows)
        missing = [name for name in wanted if name not in result]
        if missing:
            raise TransformError(f"there is no output {missing[0]!r} after postprocess, only {', '.join(result) or 'none'}")
        return result

    def _apply(self, hook: str, arrays: Arrays, rows: int | None) -> Arrays:
        function = getattr(self._transform, hook, None)
        if function is None:
            return arrays
        try:
            result: Arrays = function(arrays)  # as it should be; looked at below
        except Retry:
            raise
        except MemoryError as error:
            raise OutOfMemoryError(f"{hook} ran out of memory") from error
        except Exception as error:
            raise TransformError(f"{hook} raised {type(error).__name__}: {error}") from error
        if type(result) is not dict:  # not isinstance: a type checker would take it for granted
            raise TransformError(f"{hook} returned {type(result).__name__}, not a dict of arrays")
        return {str(name): _checked(hook, name, value, rows) for name, value in cast("dict[Any, Any]", result).items()}


def _checked(hook: str, name: object, value: Any, rows: int | None) -> NDArray[Any]:
    """``value`` as an array, if it is one and holds ``rows`` rows: fewer or more would give jobs their neighbours' results."""
    if not hasattr(value, "__array__"):
        raise TransformError(f"{hook} returned {name!r} as {type(value).__name__}, not as an array")
    array = np.asarray(value)
    if rows is not None and array.shape[:1] != (rows,):
        raise TransformError(
            f"{hook} returned {name!r} with shape {list(array.shape)} for {rows} rows: axis 0 must be the rows"
        )
    return array


def _ports(spec: str, what: str, declared: object) -> dict[str, Port] | None:
    if declared is None:
        return None
    try:
        ports = {str(name): Port(datatype, tuple(map(int, shape))) for name, (datatype, shape) in dict(declared).items()}  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise ModelUnreadableError(f'transform {spec}: {what} must be like {{"jpeg": ("BYTES", (-1,))}}: {error}') from error
    for name, port in ports.items():
        if port.datatype not in DATATYPES:
            raise ModelUnreadableError(
                f"transform {spec}: {what} {name!r} has datatype {port.datatype!r}: one of {', '.join(DATATYPES)}"
            )
    return ports
