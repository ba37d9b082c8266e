"""Owns what jobs of a benchmark are: kinds of them, with weights, and their inputs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from penstock_schemas.datatypes import DATATYPES

Inputs = Mapping[str, NDArray[Any]]
_KIND: Final = re.compile(r"([^=:]+)(?::(\d+))?(?:=([0-9.]+))?")
_TENSOR: Final = re.compile(r"([^=]+)=([A-Z0-9]+)\[([\d, ]*)\]")
_DIFFERENT: Final = 16
"""So many different inputs are made of each kind."""
_TEXT: Final = "penstock"


@dataclass(frozen=True, slots=True)
class Kind:
    """Jobs of one model and of so many rows; ``weight``: how many of these to those of other kinds."""

    model: str
    rows: int = 1
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.model}:{self.rows}={self.weight:g}"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input of a model: its name, datatype, and the shape of one row."""

    name: str
    datatype: str
    row: tuple[int, ...]


def parse_kind(text: str) -> Kind:
    """``MODEL[:ROWS][=WEIGHT]``. Raises ValueError."""
    found = _KIND.fullmatch(text)
    model, rows, weight = found.groups() if found else ("", None, None)
    try:
        kind = Kind(model, int(rows or 1), float(weight or 1))
    except ValueError:
        kind = Kind("")
    if not kind.model or kind.rows < 1 or not kind.weight > 0:
        raise ValueError(f"{text!r} is no kind of job: MODEL, MODEL:ROWS or MODEL:ROWS=WEIGHT, such as digits:4=0.2")
    return kind


def parse_tensor(text: str) -> Tensor:
    """``NAME=DATATYPE[SHAPE]``, the shape that of one row. Raises ValueError."""
    found = _TENSOR.fullmatch(text)
    if not found or found[2] not in DATATYPES:
        allowed = ", ".join(DATATYPES)
        raise ValueError(f"{text!r} is no input: NAME=DATATYPE[SHAPE OF A ROW], such as x=FP32[8,8]; datatypes: {allowed}")
    return Tensor(found[1], found[2], tuple(int(size) for size in found[3].split(",") if size.strip()))


class Works:
    """Deals out jobs: which kind is next, and its inputs."""

    def __init__(self, kinds: Sequence[Kind], tensors: Mapping[str, Sequence[Tensor]], random: np.random.Generator) -> None:
        """``tensors``: the inputs of each model."""
        self.kinds = kinds
        self._random = random
        self._inputs = [[make_inputs(tensors[kind.model], kind.rows, random) for _ in range(_DIFFERENT)] for kind in kinds]
        weights = np.array([kind.weight for kind in kinds])
        self._shares = weights / weights.sum()
        self._dealt: list[int] = []

    def next(self) -> tuple[Kind, Inputs]:
        """The next job's."""
        if not self._dealt:
            self._dealt = self._random.choice(len(self.kinds), 1024, p=self._shares).tolist()
        index = self._dealt.pop()
        return self.kinds[index], self._inputs[index][len(self._dealt) % _DIFFERENT]


def make_inputs(tensors: Sequence[Tensor], rows: int, random: np.random.Generator) -> Inputs:
    """Arrays of shape (rows, …): floats from a normal distribution, integers 0 or 1, so that any table holds them."""
    return {tensor.name: _values(tensor, (rows, *tensor.row), random) for tensor in tensors}


def _values(tensor: Tensor, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    if tensor.datatype == "BYTES":
        return np.full(shape, _TEXT, dtype=object)
    dtype = DATATYPES[tensor.datatype].dtype
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)
