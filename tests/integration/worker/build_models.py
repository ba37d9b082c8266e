"""Builds the models of the worker's tests: ``python build_models.py FOLDER``. In a process of its own, for TensorFlow.

rows/1, /2, /3  x FP32 [-1, 4] → y = x · version; signatures total (rows summed up to [-1]), flat (no free rows) and
                label (no free rows, a string that ends with a zero byte)
text/1          s BYTES [-1] → upper BYTES [-1], size INT32 [-1]; signature number (n FP32 [-1]) refuses what is none
wide/1          a FP32 [-1, -1], b INT64 [-1] → mean FP32 [-1], b2 INT64 [-1], with free inner dimensions
old/1           a SavedModel as older Keras left it, with the slots of an optimiser: only the version 1 loader reads it
two.keras       a and b FP32 [-1, 2] → sum and difference, in Keras' own format
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as untyped  # noqa: ICN001 - tf is the same without its lack of types
from tensorflow.core.protobuf import saved_model_pb2

tf: Any = untyped
ROWS = tf.TensorSpec([None, 4], tf.float32, "x")


def rows(folder: Path, version: int) -> None:
    module = tf.Module()
    module.factor = tf.Variable(float(version))
    serve = tf.function(lambda x: {"y": x * module.factor}, input_signature=[ROWS])
    total = tf.function(lambda x: {"total": tf.reduce_sum(x, 1)}, input_signature=[ROWS])
    flat = tf.function(lambda x: {"y": tf.reverse(x, [0])}, input_signature=[tf.TensorSpec([4], tf.float32, "x")])
    label = tf.function(
        lambda x: {"label": tf.constant(b"zero\0"), "any": tf.reduce_any(x > 0)},
        input_signature=[tf.TensorSpec([2], tf.float32, "x")],
    )
    signatures = {"serving_default": serve, "total": total, "flat": flat, "label": label}
    tf.saved_model.save(module, str(folder / str(version)), signatures=signatures)


def text(folder: Path) -> None:
    spec = tf.TensorSpec([None], tf.string, "s")
    serve = tf.function(lambda s: {"upper": tf.strings.upper(s), "size": tf.strings.length(s)}, input_signature=[spec])
    number = tf.function(lambda s: {"n": tf.strings.to_number(s)}, input_signature=[spec])
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures={"serving_default": serve, "number": number})


def wide(folder: Path) -> None:
    specs = [tf.TensorSpec([None, None], tf.float32, "a"), tf.TensorSpec([None], tf.int64, "b")]
    serve = tf.function(lambda a, b: {"mean": tf.reduce_mean(a, 1), "b2": b * 2}, input_signature=specs)
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures={"serving_default": serve})


def old(folder: Path) -> None:
    module, module.optimizer = tf.Module(), tf.Module()
    module.weight, module.slot = tf.Variable(10.0), tf.Variable(0.0)
    serve = tf.function(lambda x: {"y": x * module.weight}, input_signature=[ROWS])
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": serve})
    path = folder / "1" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    places = {child.local_name: child.node_id for child in nodes[0].children}
    nodes[places["optimizer"]].slot_variables.add(
        original_variable_node_id=places["weight"], slot_name="m", slot_variable_node_id=places["slot"]
    )
    path.write_bytes(saved.SerializeToString())
    try:
        tf.saved_model.load(str(folder / "1"))
    except AttributeError as error:
        assert "add_slot" in str(error), error
    else:
        raise AssertionError("TensorFlow reads this model by its modern loader: it tests nothing")


def keras(path: Path) -> None:
    layers = tf.keras.layers
    a, b = tf.keras.Input([2], name="a"), tf.keras.Input([2], name="b")
    outputs = [layers.Add(name="sum")([a, b]), layers.Subtract(name="difference")([a, b])]
    tf.keras.Model([a, b], outputs).save(path)


def main(folder: Path) -> None:
    for version in (1, 2, 3):
        rows(folder / "rows", version)
    text(folder / "text")
    wide(folder / "wide")
    old(folder / "old")
    keras(folder / "two.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
