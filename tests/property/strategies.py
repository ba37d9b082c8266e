"""Owns the hypothesis strategies of jobs: tensors of every datatype, and what else a caller may say."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from penstock_schemas.datatypes import DATATYPES
from penstock_schemas.jobs import RequestedOutput

IDS = st.from_regex(r"[A-Za-z0-9._:-][A-Za-z0-9._:~-]{0,127}", fullmatch=True)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
CLIENT_IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def shapes(max_rank: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of at least one row; inner dimensions may be empty; () is a scalar."""
    inner = st.lists(st.integers(0, 4), max_size=max_rank - 1)
    with_rows = st.tuples(st.integers(1, 5), inner).map(lambda shape: (shape[0], *shape[1]))
    return st.one_of(st.just(()), with_rows)


@st.composite
def tensors(draw: st.DrawFn, datatype: str | None = None, *, in_json: bool = False) -> NDArray[Any]:
    """An array of one of the datatypes; for JSON, one that JSON can say."""
    names = [name for name in DATATYPES if not (in_json and name == "FP16")]
    name = datatype or draw(st.sampled_from(names))
    shape = draw(shapes())
    if name == "BYTES":
        count = int(np.prod(shape))
        array = np.empty(count, dtype=object)
        array[:] = draw(st.lists(st.binary(max_size=20), min_size=count, max_size=count))
        return array.reshape(shape)
    dtype = DATATYPES[name].dtype
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if in_json and dtype.kind == "f" else {}
    return draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **elements)))


@st.composite
def jobs(draw: st.DrawFn, *, in_json: bool) -> dict[str, NDArray[Any]]:
    """The inputs of one job."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return {name: draw(tensors(in_json=in_json)) for name in names}


@st.composite
def saids(draw: st.DrawFn) -> dict[str, Any]:
    """What a caller may say beside the inputs, as ``encode_job`` takes it."""
    outputs = st.builds(RequestedOutput, NAMES, st.sampled_from([None, True, False]), st.sampled_from([None, "base64"]))
    return {
        "model_name": draw(st.none() | NAMES),
        "model_version": draw(st.none() | NAMES),
        "signature": draw(st.none() | NAMES),
        "outputs": tuple(draw(st.lists(outputs, max_size=3, unique_by=lambda output: output.name))),
        "timeout_us": draw(st.none() | st.integers(1, 2**53)),
        "reply_to": draw(st.none() | CLIENT_IDS),
    }


def same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Whether two arrays hold the same bits (NaN included) in the same shape and dtype."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return left.tolist() == right.tolist() if left.dtype == object else left.tobytes() == right.tobytes()
