"""Owns what a model's signature asks of a job, and whether a job fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from penstock_schemas.errors import ErrorCode, JobError

if TYPE_CHECKING:
    from penstock_schemas.jobs import Request


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: its OIP datatype, and its shape with -1 where a dimension is free (None: rank unknown)."""

    datatype: str
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        return f"{self.datatype} {'of any shape' if self.shape is None else list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs by name. ``batched``: rows run along a free axis 0 of every one of them."""

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    batched: bool = field(init=False)

    def __post_init__(self) -> None:
        ports = [*self.inputs.values(), *self.outputs.values()]
        inputs_free = bool(self.inputs) and all(p.shape is not None and p.shape[:1] == (-1,) for p in self.inputs.values())
        outputs_free = all(p.shape is None or p.shape[:1] == (-1,) for p in ports)
        object.__setattr__(self, "batched", inputs_free and outputs_free)

    def named(self, request: Request) -> Request | JobError:
        """``request`` with its one input named where it came without a name, which it may where the model takes one input."""
        if len(request.inputs) != 1 or request.inputs[0].name:
            return request
        if len(self.inputs) != 1:
            return _invalid(f"the job's input has no name, and the model takes several: {self._wanted()}")
        return replace(request, inputs=(replace(request.inputs[0], name=next(iter(self.inputs))),))

    def _wanted(self) -> str:
        return ", ".join(f"{name} ({port})" for name, port in self.inputs.items())

    def misfit(self, request: Request) -> JobError | None:
        """What of ``request`` does not fit this signature, or None."""
        return self._misfit_names(request) or self._misfit_tensors(request) or self._misfit_outputs(request)

    def _misfit_names(self, request: Request) -> JobError | None:
        given = {spec.name for spec in request.inputs}
        wanted = self._wanted()
        missing = [name for name in self.inputs if name not in given]
        if missing:
            return _invalid(f"input {missing[0]!r} is missing: the model takes {wanted}")
        extra = sorted(given - set(self.inputs))
        if extra:
            return _invalid(f"the model has no input {extra[0]!r}: it takes {wanted}")
        return None

    def _misfit_tensors(self, request: Request) -> JobError | None:
        rows: int | None = None
        for spec in request.inputs:
            port = self.inputs[spec.name]
            if spec.datatype != port.datatype:
                return _invalid(f"input {spec.name!r} has datatype {spec.datatype}, the model takes {port}")
            if port.shape is not None and not _shapes_fit(spec.shape, port.shape):
                hint = ""
                if self.batched and _shapes_fit((1, *spec.shape), port.shape):
                    hint = f"; rows run along axis 0, so send one row as {[1, *spec.shape]}"
                return _invalid(f"input {spec.name!r} has shape {list(spec.shape)}, the model takes {list(port.shape)}{hint}")
            if self.batched:
                if spec.shape[0] == 0:
                    return _invalid(f"input {spec.name!r} has no rows: its shape {list(spec.shape)} must begin with 1 or more")
                if rows is not None and spec.shape[0] != rows:
                    return _invalid(
                        f"input {spec.name!r} has {spec.shape[0]} rows and {request.inputs[0].name!r} has {rows}: "
                        "all inputs of a job must have as many rows"
                    )
                rows = spec.shape[0]
        return None

    def _misfit_outputs(self, request: Request) -> JobError | None:
        for output in request.outputs:
            if output.name not in self.outputs:
                known = ", ".join(self.outputs)
                return JobError(ErrorCode.UNKNOWN_OUTPUT, f"the model has no output {output.name!r}: it has {known}")
        return None


def _shapes_fit(shape: tuple[int, ...], pattern: tuple[int, ...]) -> bool:
    return len(shape) == len(pattern) and all(want in (-1, have) for have, want in zip(shape, pattern, strict=True))


def _invalid(message: str) -> JobError:
    return JobError(ErrorCode.INVALID_INPUT, message)
