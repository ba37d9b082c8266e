"""Kinds of jobs and their inputs, as the command line names them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from penstock.bench.work import Kind, Tensor, Works, make_inputs, parse_kind, parse_tensor


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("digits", Kind("digits")),
        ("digits:4", Kind("digits", 4)),
        ("digits=0.2", Kind("digits", 1, 0.2)),
        ("a.b-c_d:16=3", Kind("a.b-c_d", 16, 3.0)),
    ],
)
def test_a_kind_is_a_model_its_rows_and_its_weight(text: str, kind: Kind) -> None:
    assert parse_kind(text) == kind
    assert parse_kind(str(kind)) == kind


@pytest.mark.parametrize("text", ["", ":4", "digits:0", "digits=0", "digits=1.2.3", "digits:", "="])
def test_what_is_no_kind_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as digits:4=0\.2"):
        parse_kind(text)


def test_an_input_is_a_name_a_datatype_and_the_shape_of_a_row() -> None:
    assert parse_tensor("x=FP32[8,8]") == Tensor("x", "FP32", (8, 8))
    assert parse_tensor("words=BYTES[]") == Tensor("words", "BYTES", ())
    with pytest.raises(ValueError, match="datatypes: BOOL, UINT8"):
        parse_tensor("x=float[8]")


def test_inputs_have_their_rows_shapes_and_dtypes() -> None:
    tensors = [Tensor("x", "FP32", (8, 8)), Tensor("n", "INT64", (3,)), Tensor("on", "BOOL", ()), Tensor("t", "BYTES", (2,))]
    inputs = make_inputs(tensors, 5, np.random.default_rng(1))
    shapes = {name: (array.dtype.str, array.shape) for name, array in inputs.items()}
    assert shapes == {"x": ("<f4", (5, 8, 8)), "n": ("<i8", (5, 3)), "on": ("|b1", (5,)), "t": ("|O", (5, 2))}
    assert inputs["x"].std() > 0.5
    assert set(np.unique(inputs["n"])) <= {0, 1}, "any table of embeddings has these rows"


def test_kinds_are_mixed_by_their_weights() -> None:
    kinds = [Kind("a", 1, 9), Kind("b", 4, 1)]
    works = Works(kinds, {"a": [Tensor("x", "FP32", ())], "b": [Tensor("x", "FP32", ())]}, np.random.default_rng(1))
    dealt = [works.next() for _ in range(5000)]
    assert Counter(kind.model for kind, _ in dealt)["b"] == pytest.approx(500, rel=0.2)
    assert {inputs["x"].shape for kind, inputs in dealt if kind.model == "b"} == {(4,)}
