"""Owns turning what a caller hands to `submit` into a record value: arrays as numpy sees them, one encoder a kind of job."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.errors import InvalidJob
from penstock_schemas.datatypes import ContractError
from penstock_schemas.jobs import JobEncoder, RequestedOutput

if TYPE_CHECKING:
    from penstock.core import MapOptions, SubmitOptions

Tensor = ArrayLike
"""What numpy makes an array of."""
Inputs = Mapping[str, Tensor]
"""Tensors by the names of the model's inputs."""

_KINDS_KEPT = 256
"""How many kinds of jobs (model, version, signature, outputs, timeout, encoding) keep their encoder."""
_MAX_TIMEOUT = 2**53 / 1e6


class Encoder:
    """Encodes one client's jobs. Jobs alike share their JSON line, byte for byte. Threads may share one."""

    def __init__(self, *, reply_to: str | None) -> None:
        self._reply_to = reply_to
        self._encoders: dict[Hashable, JobEncoder] = {}

    def encode(self, model: str | None, inputs: Inputs, options: SubmitOptions) -> bytes:
        """One record value. Raises InvalidJob naming what cannot be."""
        kind = (model, _kind(options)) if options else model
        encoder = self._encoders.get(kind)
        if encoder is None:
            encoder = self._new_encoder(model, options)
            if len(self._encoders) >= _KINDS_KEPT:
                self._encoders.clear()
            self._encoders[kind] = encoder
        try:
            arrays = {name: value if type(value) is np.ndarray else _array(name, value) for name, value in inputs.items()}
            return encoder.encode(arrays)
        except ContractError as error:
            raise InvalidJob(str(error)) from error
        except AttributeError:
            if isinstance(inputs, Mapping):
                raise
            raise InvalidJob(f"inputs are {type(inputs).__name__}; they must be a mapping of input names to arrays") from None

    def _new_encoder(self, model: str | None, options: SubmitOptions) -> JobEncoder:
        version = options.get("version")
        timeout = options.get("timeout")
        encoding = options.get("encoding", "binary")
        outputs = options.get("outputs", ())
        if timeout is not None and not 0 < timeout <= _MAX_TIMEOUT:
            raise InvalidJob(f"timeout is {timeout}; it must be seconds above 0 (leave it out for none)")
        if encoding not in {"binary", "json"}:
            raise InvalidJob(f"encoding is {encoding!r}; it must be 'binary' or 'json'")
        if isinstance(outputs, str):
            raise InvalidJob(f"outputs is the text {outputs!r}; it must be a list of output names")
        return JobEncoder(
            model_name=model,
            model_version=None if version is None else str(version),
            signature=options.get("signature"),
            outputs=tuple(RequestedOutput(name) for name in outputs),
            timeout_us=None if timeout is None else max(1, round(timeout * 1e6)),
            reply_to=self._reply_to,
            binary=encoding == "binary",
        )


def _kind(options: SubmitOptions) -> Hashable:
    """What of the options jobs of one kind have in common."""
    outputs = options.get("outputs")
    return (
        options.get("version"),
        options.get("signature"),
        None if outputs is None else tuple(outputs),
        options.get("timeout"),
        options.get("encoding"),
    )


def named(item: Inputs | Tensor, name: str | None, options: MapOptions) -> Inputs:
    """One of map's items as `submit` takes it: what is no mapping is one row. Raises InvalidJob for one id for all."""
    if "id" in options:
        raise InvalidJob("map takes no id: its jobs cannot share one (submit takes one, and as_completed waits for many)")
    if isinstance(item, Mapping):
        return item
    row: Tensor = item[np.newaxis] if isinstance(item, np.ndarray) else cast("Tensor", [item])
    return {name or "": row}


def _array(name: str, value: Tensor) -> NDArray[Any]:
    """What numpy makes of a value, but with text and bytes as they are: numpy's own S dtype loses zeros at their ends."""
    try:
        array = np.asarray(value)
        return np.array(value, dtype=object) if array.dtype.kind in "SU" and not isinstance(value, np.generic) else array
    except (ValueError, TypeError) as error:
        raise InvalidJob(f"input {name!r} cannot be made an array: {error}") from error
