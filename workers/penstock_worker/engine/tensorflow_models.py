"""Owns all that touches TensorFlow: loading models and calling their signatures.

Loads whatever TF Serving would: SavedModels by :func:`tf.saved_model.load`, else by the version 1 loader in a session
(SavedModels that older Keras saved with optimiser state only load there); and ``.keras`` files. Signatures are called as
concrete functions, never by ``predict()``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from penstock_schemas.datatypes import DATATYPES
from penstock_worker.engine.backend import Arrays, LoadedModel, ModelUnreadableError, OutOfMemoryError
from penstock_worker.engine.quiet import quiet_stderr
from penstock_worker.engine.reasons import reason
from penstock_worker.engine.signature import Port, Signature

# Before TensorFlow is imported: its C++ side reads this once. A user's own value stands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with quiet_stderr():  # what it says at import bypasses that level, and would stand in every worker's log
    import tensorflow  # noqa: ICN001  # tf is its name with a type

tf: Any = tensorflow  # it publishes no types

_OIP_BY_DTYPE = {tf.as_dtype(datatype.dtype): name for name, datatype in DATATYPES.items() if name != "BYTES"} | {
    tf.string: "BYTES"
}


class _Model:
    """A loaded version: signatures, and the functions behind them (arrays by name in, tensors or arrays by name out)."""

    def __init__(self, signatures: Mapping[str, Signature], functions: Mapping[str, Callable[..., Any]]) -> None:
        self.signatures = signatures
        self._functions = functions

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        try:
            outputs = self._functions[signature](**{name: tf.constant(array) for name, array in inputs.items()})
            return {name: np.asarray(value) for name, value in outputs.items()}
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemoryError(reason(error)) from error
        except MemoryError as error:
            raise OutOfMemoryError(str(error) or "out of memory") from error


class _SessionModel(_Model):
    """A version that only the version 1 loader reads: arrays go straight into a session's callable."""

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        try:
            return dict(self._functions[signature](**inputs))
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemoryError(reason(error)) from error


class TensorFlowBackend:
    """TensorFlow on one device; the device was chosen before TensorFlow was imported."""

    def load(self, path: Path) -> LoadedModel:
        try:
            if path.suffix == ".keras":
                return _load_keras(path)
            try:
                return _load_saved_model(path)
            except (AttributeError, ValueError, KeyError) as modern:
                try:
                    return _load_in_session(path)
                except Exception:  # noqa: BLE001  # whatever it says, the modern loader's reason is the one to tell
                    raise modern from None
        except ModelUnreadableError:
            raise
        except Exception as error:
            raise ModelUnreadableError(f"{path} cannot be loaded: {type(error).__name__}: {reason(error)}") from error


def open_backend(device: str, cpu_threads: int) -> TensorFlowBackend:
    """TensorFlow on ``device``: GPU memory grows as needed; on a CPU, ``cpu_threads`` threads (0: one a core)."""
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not gpus:
        raise ModelUnreadableError(
            f"device {device} was asked for, and TensorFlow sees no GPU: install penstock[gpu] or set devices to cpu"
        )
    else:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    if cpu_threads:
        tf.config.threading.set_intra_op_parallelism_threads(cpu_threads)
        tf.config.threading.set_inter_op_parallelism_threads(cpu_threads)
    return TensorFlowBackend()


def gpu_count() -> int:
    """How many GPUs TensorFlow sees. Imports TensorFlow's runtime, so it is called in a process of its own."""
    return len(tf.config.list_physical_devices("GPU"))


def _load_saved_model(path: Path) -> _Model:
    loaded = tf.saved_model.load(str(path))
    functions = dict(loaded.signatures)
    if not functions:
        raise ModelUnreadableError(f"{path} has no signatures: save it with one, serving_default say")
    signatures = {
        name: Signature(
            {key: _port(path, key, spec) for key, spec in function.structured_input_signature[1].items()},
            {key: _port(path, key, spec) for key, spec in function.structured_outputs.items()},
        )
        for name, function in functions.items()
    }
    model = _Model(signatures, functions)
    model.keep = loaded  # type: ignore[attr-defined]  # its variables go with it
    return model


def _load_in_session(path: Path) -> _Model:
    graph = tf.Graph()
    with graph.as_default():
        session = tf.compat.v1.Session(graph=graph)
        meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(path))
        signatures: dict[str, Signature] = {}
        functions: dict[str, Callable[..., Any]] = {}
        for name, definition in meta.signature_def.items():
            if not definition.inputs or not definition.outputs or name.startswith("__"):
                continue
            feeds = {key: graph.get_tensor_by_name(info.name) for key, info in definition.inputs.items()}
            fetches = {key: graph.get_tensor_by_name(info.name) for key, info in definition.outputs.items()}
            signatures[name] = Signature(
                {key: _port(path, key, tensor) for key, tensor in feeds.items()},
                {key: _port(path, key, tensor) for key, tensor in fetches.items()},
            )
            functions[name] = _session_function(session, feeds, fetches)
    if not signatures:
        raise ModelUnreadableError(f"{path} has no signatures: save it with one, serving_default say")
    return _SessionModel(signatures, functions)


def _session_function(session: Any, feeds: dict[str, Any], fetches: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    function = session.make_callable(list(fetches.values()), feed_list=list(feeds.values()))
    order = list(feeds)

    def call(**inputs: Any) -> dict[str, Any]:
        results = function(*[inputs[name] for name in order])
        return dict(zip(fetches, results, strict=True))

    return call


def _load_keras(path: Path) -> _Model:
    model = tf.keras.models.load_model(path, compile=False)
    inputs = {tensor.name: tensor for tensor in model.inputs}
    output_names = list(model.output_names)
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in inputs.items()}
    single = len(specs) == 1

    def serve(**arrays: Any) -> dict[str, Any]:
        outputs = model(next(iter(arrays.values())) if single else [arrays[name] for name in specs], training=False)
        if isinstance(outputs, Mapping):
            return dict(cast("Mapping[str, Any]", outputs))
        return dict(zip(output_names, tf.nest.flatten(outputs), strict=True))

    function = tf.function(serve).get_concrete_function(**specs)
    signature = Signature(
        {name: _port(path, name, spec) for name, spec in specs.items()},
        {name: _port(path, name, spec) for name, spec in function.structured_outputs.items()},
    )
    keras = _Model({"serving_default": signature}, {"serving_default": function})
    keras.keep = model  # type: ignore[attr-defined]  # its variables go with it
    return keras


def _port(path: Path, name: str, spec: Any) -> Port:
    datatype = _OIP_BY_DTYPE.get(spec.dtype)
    if datatype is None:
        known = ", ".join(_OIP_BY_DTYPE.values())
        raise ModelUnreadableError(
            f"{path}: tensor {name!r} has dtype {spec.dtype.name}, which the protocol cannot carry: {known}"
        )
    if spec.shape.rank is None:
        return Port(datatype, None)
    return Port(datatype, tuple(-1 if dimension is None else int(dimension) for dimension in spec.shape))
