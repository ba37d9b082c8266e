"""Owns running one batch: gather, pad, call, check, and split a batch that fails until the guilty stand alone."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.assembly import Piece, calls, halve
from penstock_worker.engine.backend import OutOfMemoryError
from penstock_worker.engine.transforms import TransformError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_worker.engine.backend import Arrays
    from penstock_worker.engine.block import Block
    from penstock_worker.engine.catalog import Route

_EVIDENCE = 8000
"""Most characters of a traceback that travel with a dead letter."""


@dataclass(slots=True)
class Ran:
    """What came of one piece. ``outputs`` are stacked like a block's inputs; ``failed``: by index in the piece."""

    piece: Piece[Block]
    outputs: Arrays
    batch_rows: int
    failed: dict[int, tuple[JobError, str]] = field(default_factory=dict[int, tuple[JobError, str]])


def run(pieces: list[Piece[Block]]) -> list[Ran]:
    """Run one batch, all pieces of which are of one lane. Never raises for what a job or a model does."""
    route = pieces[0].block.route
    try:
        outputs = _outputs(route, pieces)
    except Exception as error:  # noqa: BLE001  # a model or a transform may raise anything
        if sum(piece.jobs for piece in pieces) == 1:
            failure = _job_error(route, error), traceback.format_exc()[-_EVIDENCE:]
            return [Ran(pieces[0], {}, pieces[0].rows, {0: failure})]
        left, right = halve(pieces)
        return run(left) + run(right)
    return _share(route, pieces, outputs)


def call(route: Route, inputs: Arrays, rows: int) -> Arrays:
    """The route's outputs for ``rows`` rows of ``inputs``, rows along axis 0: transformed, padded, cut and joined again."""
    version = route.version
    transform = version.transform
    wanted = route.signature.outputs
    if transform is not None:
        inputs = transform.before(inputs, rows if route.policy.batched else None)
    if not route.policy.batched:
        outputs = version.model.call(route.signature_name, inputs)
        return outputs if transform is None else transform.after(outputs, None, wanted)
    parts: list[Arrays] = []
    begin = 0
    for taken, called in calls(rows, route.policy.max_rows, version.settings.allowed_batch_sizes):
        batch = {name: _padded(array[begin : begin + taken], called) for name, array in inputs.items()}
        result = version.model.call(route.signature_name, batch)
        _check_rows(result, called)
        parts.append({name: array[:taken] for name, array in result.items()} if called != taken else result)
        begin += taken
    outputs = parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if transform is not None:
        outputs = transform.after(outputs, rows, wanted)
    return outputs


def _check_rows(outputs: Arrays, rows: int) -> None:
    """Refuse outputs without a row for each row of the call: cut to the rows that are no padding, they would pass for jobs'."""
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise ValueError(
                f"output {name!r} has shape {list(array.shape)} for a batch of {rows} rows: axis 0 must be the rows"
            )


def non_finite_jobs(arrays: Arrays, jobs: int) -> dict[int, str]:
    """The jobs (axis 0) in which a tensor holds NaN or infinity, with that tensor's name."""
    bad: dict[int, str] = {}
    for name, array in arrays.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        for job in np.flatnonzero(~np.isfinite(array.reshape(jobs, -1)).all(axis=1)):
            bad.setdefault(int(job), name)
    return bad


def _outputs(route: Route, pieces: list[Piece[Block]]) -> Arrays:
    if not route.policy.batched:
        block, begin, _ = pieces[0]
        return call(route, {name: array[begin, ...] for name, array in block.inputs.items()}, 1)  # arrays, of rank 0 even
    inputs: Arrays = {}
    for name in pieces[0].block.inputs:
        parts = [_rows(piece.block.inputs[name][piece.begin : piece.end]) for piece in pieces]
        inputs[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return call(route, inputs, sum(piece.rows for piece in pieces))


def _share(route: Route, pieces: list[Piece[Block]], outputs: Arrays) -> list[Ran]:
    """Give each piece its jobs' part of ``outputs``."""
    batch_rows = sum(piece.rows for piece in pieces)
    results: list[Ran] = []
    begin = 0
    for piece in pieces:
        mine: Arrays = {}
        for name, array in outputs.items():
            if route.policy.batched:
                mine[name] = array[begin : begin + piece.rows].reshape(piece.jobs, piece.block.rows, *array.shape[1:])
            else:
                mine[name] = np.asarray(array)[np.newaxis]
        begin += piece.rows
        ran = Ran(piece, mine, batch_rows)
        if not route.version.settings.allow_non_finite:
            for job, name in non_finite_jobs(mine, piece.jobs).items():
                message = f"output {name!r} of model {route.version.name!r} holds NaN or infinity for these values"
                ran.failed[job] = JobError(ErrorCode.NON_FINITE_OUTPUT, message), ""
        results.append(ran)
    return results


def _rows(stacked: NDArray[np.generic]) -> NDArray[np.generic]:
    """(jobs, rows, …) to (jobs · rows, …), without a copy."""
    return stacked.reshape(stacked.shape[0] * stacked.shape[1], *stacked.shape[2:])


def _padded(array: NDArray[np.generic], rows: int) -> NDArray[np.generic]:
    """``array`` with its last row repeated up to ``rows`` rows: a real row, for zeros can be slow or give NaN."""
    missing = rows - len(array)
    return array if missing == 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def _job_error(route: Route, error: Exception) -> JobError:
    what = f"model {route.version.name!r} version {route.version.version}"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
    if isinstance(error, OutOfMemoryError):
        return JobError(ErrorCode.OUT_OF_MEMORY, f"{what} has no memory for this job alone: {reason}")
    if isinstance(error, TransformError):
        return JobError(ErrorCode.TRANSFORM_ERROR, f"the transform of {what} failed: {reason}")
    return JobError(ErrorCode.MODEL_ERROR, f"{what} refused these values: {type(error).__name__}: {reason}")


def warm_up(route: Route, budget_bytes: int) -> float:
    """Call ``route`` once with each allowed batch size (zeros; free dimensions 1), as far as ``budget_bytes`` of inputs go.

    Returns the seconds it took. A model that refuses such inputs is warm enough: real ones decide.
    """
    begin = time.perf_counter()
    signature = route.version.model.signatures[route.signature_name]
    sizes = route.version.settings.allowed_batch_sizes or [1, route.policy.max_rows]
    for rows in sizes if route.policy.batched else [1]:
        inputs = {
            name: _sample(port.datatype, port.shape, rows, batched=route.policy.batched)
            for name, port in signature.inputs.items()
        }
        if sum(array.nbytes for array in inputs.values()) > budget_bytes and rows > 1:
            break
        try:
            route.version.model.call(route.signature_name, inputs)
        except Exception:  # noqa: BLE001  # zeros may be no valid input of this model
            break
    return time.perf_counter() - begin


def _sample(datatype: str, shape: tuple[int, ...] | None, rows: int, *, batched: bool) -> NDArray[np.generic]:
    from penstock_schemas.datatypes import DATATYPES

    dims = [1 if d == -1 else d for d in (shape or ())]
    if batched and dims:
        dims[0] = rows
    if datatype == "BYTES":
        array = np.empty(dims, object)
        array[...] = b""
        return array
    return np.zeros(dims, DATATYPES[datatype].dtype)
