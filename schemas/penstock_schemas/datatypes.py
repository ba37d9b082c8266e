"""Owns the Open Inference Protocol's datatypes: their names, their numpy dtypes, and how JSON numbers become them.

Source: the protocol's "Tensor Data Types" table. BF16, which some servers add, is not among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np


class ContractError(ValueError):
    """Bytes that are no outcome, or values that no job can carry: raised to the caller whose mistake it is."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype: ``dtype`` is little-endian; ``code`` is its :mod:`array` type code ("" where JSON needs its own way)."""

    name: str
    dtype: np.dtype[Any]
    code: str
    json_types: frozenset[type]

    @property
    def itemsize(self) -> int:
        """Bytes of one element; 0 for BYTES, whose elements differ."""
        return 0 if self.name == "BYTES" else self.dtype.itemsize


_INTEGER: Final = frozenset({int})
_FLOAT: Final = frozenset({int, float})

DATATYPES: Final[dict[str, Datatype]] = {
    name: Datatype(name, np.dtype(dtype), code, types)
    for name, dtype, code, types in (
        ("BOOL", "?", "", frozenset({bool})),
        ("UINT8", "u1", "B", _INTEGER),
        ("UINT16", "<u2", "H", _INTEGER),
        ("UINT32", "<u4", "I", _INTEGER),
        ("UINT64", "<u8", "Q", _INTEGER),
        ("INT8", "i1", "b", _INTEGER),
        ("INT16", "<i2", "h", _INTEGER),
        ("INT32", "<i4", "i", _INTEGER),
        ("INT64", "<i8", "q", _INTEGER),
        ("FP16", "<f2", "", frozenset[type]()),
        ("FP32", "<f4", "f", _FLOAT),
        ("FP64", "<f8", "d", _FLOAT),
        ("BYTES", "O", "", frozenset({str})),
    )
}
"""Every datatype by its name in the protocol."""

_BY_DTYPE: Final = {datatype.dtype: datatype for datatype in DATATYPES.values()}


def datatype_of(dtype: np.dtype[Any]) -> Datatype | None:
    """The datatype that carries arrays of ``dtype`` (either byte order; text and bytes of any width are BYTES), or None."""
    if dtype.kind in "USO":
        return DATATYPES["BYTES"]
    found = _BY_DTYPE.get(dtype)
    if found is None and dtype.kind in "iufb":
        found = _BY_DTYPE.get(dtype.newbyteorder("<"))
    return found
