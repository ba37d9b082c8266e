"""Owns running one batch: gather, pad, call, check, and split a batch that fails until the guilty stand alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.assembly import Piece, halve, next_call
from penstock_worker.engine.backend import OutOfMemoryError
from penstock_worker.engine.reasons import evidence, reason
from penstock_worker.engine.transforms import Retry, TransformError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_worker.engine.backend import Arrays
    from penstock_worker.engine.block import Block
    from penstock_worker.engine.catalog import Route

About = Callable[[list[Piece["Block"]]], None]
"""Told before each step that may hang or end the process (a hook of a transform, a call of a model): for whom it is.

Several steps for the same jobs tell the same list.
"""


@dataclass(slots=True)
class Ran:
    """What came of one piece. ``outputs`` are stacked like a block's inputs; ``failed``: by index in the piece."""

    piece: Piece[Block]
    outputs: Arrays
    batch_rows: int
    failed: dict[int, tuple[JobError, str]] = field(default_factory=dict[int, tuple[JobError, str]])


def run(pieces: list[Piece[Block]], about: About = lambda _: None, clock: Callable[[], float] = time.monotonic) -> list[Ran]:
    """Run one batch, all pieces of which are of one lane. Never raises for what a job or a model does.

    ``about`` is told what is about to run; ``clock`` gives monotonic seconds.
    """
    return _Batch(about, clock, sum(piece.rows for piece in pieces)).run(pieces)


class _Batch:
    """One batch of ``rows`` rows, which may have to be run in parts."""

    def __init__(self, about: About, clock: Callable[[], float], rows: int) -> None:
        self._about = about
        self._clock = clock
        self._rows = rows

    def run(self, pieces: list[Piece[Block]]) -> list[Ran]:
        """Run ``pieces``, all of the batch or some of it."""
        route = pieces[0].block.route
        try:
            outputs = self._outputs(route, pieces)
        except Exception as error:  # noqa: BLE001  # a model or a transform may raise anything
            if sum(piece.jobs for piece in pieces) == 1:
                return [Ran(pieces[0], {}, self._rows, {0: (_job_error(route, error), evidence(error))})]
            no_room = isinstance(error, OutOfMemoryError)
        else:
            return _share(route, pieces, outputs)
        # Not within the handler: what the halves raise would be told as raised on top of what the whole did.
        left, right = halve(pieces)
        ran = self.run(left) + self.run(right)
        if no_room:
            self._learn(route, sum(piece.rows for piece in pieces), ran)
        return ran

    def _learn(self, route: Route, rows: int, ran: list[Ran]) -> None:
        """Lower the limit, as there was no room for ``rows`` rows; unless a job that has none alone explains it."""
        if any(error.code is ErrorCode.OUT_OF_MEMORY for one in ran for error, _ in one.failed.values()):
            return
        settings = route.version.settings
        _, called = next_call(rows, settings.max_batch_rows, settings.allowed_batch_sizes)
        route.policy.limit.refused(called, self._clock())

    def _outputs(self, route: Route, pieces: list[Piece[Block]]) -> Arrays:
        if not route.policy.batched:
            block, begin, _ = pieces[0]
            return self._single(route, {name: array[begin, ...] for name, array in block.inputs.items()}, pieces)
        inputs: Arrays = {}
        for name in pieces[0].block.inputs:
            parts = [_rows(piece.block.inputs[name][piece.begin : piece.end]) for piece in pieces]
            inputs[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return self._batched(route, inputs, pieces)

    def _single(self, route: Route, inputs: Arrays, pieces: list[Piece[Block]]) -> Arrays:
        """The outputs of one job whose signature has no rows; arrays, of rank 0 even."""
        version = route.version
        transform = version.transform
        self._about(pieces)
        if transform is not None:
            inputs = transform.before(inputs, None)
            self._about(pieces)
        outputs = version.model.call(route.signature_name, inputs)
        if transform is None:
            return outputs
        self._about(pieces)
        return transform.after(outputs, None, route.signature.outputs)

    def _batched(self, route: Route, inputs: Arrays, pieces: list[Piece[Block]]) -> Arrays:
        """The outputs of ``inputs``, rows along axis 0: transformed, padded, cut and joined again."""
        transform = route.version.transform
        rows = sum(piece.rows for piece in pieces)
        if transform is not None:
            self._about(pieces)
            inputs = transform.before(inputs, rows)
        parts = self._calls(route, inputs, pieces)
        outputs = parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if transform is None:
            return outputs
        self._about(pieces)
        return transform.after(outputs, rows, route.signature.outputs)

    def _calls(self, route: Route, inputs: Arrays, pieces: list[Piece[Block]]) -> list[Arrays]:
        """The outputs of each call of the model. A job alone for which there is no room goes on in smaller calls."""
        version, limit = route.version, route.policy.limit
        sizes = version.settings.allowed_batch_sizes
        alone = sum(piece.jobs for piece in pieces) == 1
        rows, most = sum(piece.rows for piece in pieces), limit.rows
        refused: int | None = None
        parts: list[Arrays] = []
        begin = 0
        while begin < rows:
            taken, called = next_call(rows - begin, most, sizes)
            batch = {name: _padded(array[begin : begin + taken], called) for name, array in inputs.items()}
            self._about(pieces)
            try:
                result = version.model.call(route.signature_name, batch)
            except OutOfMemoryError:
                most = limit.below(called)
                if not alone or most >= called:
                    raise
                refused = called
                continue
            limit.succeeded(called, self._clock())
            _check_rows(result, called)
            parts.append({name: array[:taken] for name, array in result.items()} if called != taken else result)
            begin += taken
        if refused is not None:
            limit.refused(refused, self._clock())
        return parts


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
    why = reason(error)
    if isinstance(error, OutOfMemoryError):
        return JobError(ErrorCode.OUT_OF_MEMORY, f"{what} has no memory for this job alone: {why}")
    if isinstance(error, Retry):
        return JobError(ErrorCode.TRANSFORM_RETRY, f"the transform of {what} asked for another try: {why}")
    if isinstance(error, TransformError):
        return JobError(ErrorCode.TRANSFORM_ERROR, f"the transform of {what} failed: {why}")
    return JobError(ErrorCode.MODEL_ERROR, f"{what} refused these values: {type(error).__name__}: {why}")


def warm_up(route: Route, budget_bytes: int) -> float:
    """Call ``route`` once with each allowed batch size (zeros; free dimensions 1), as far as ``budget_bytes`` of inputs go.

    Returns the seconds it took. A model that refuses such inputs is warm enough: real ones decide.
    """
    begin = time.perf_counter()
    signature = route.version.model.signatures[route.signature_name]
    sizes = route.version.settings.allowed_batch_sizes or [1, route.version.settings.max_batch_rows]
    for rows in sizes if route.policy.batched else [1]:
        inputs = {
            name: _sample(port.datatype, port.shape, rows, batched=route.policy.batched)
            for name, port in signature.inputs.items()
        }
        if sum(array.nbytes for array in inputs.values()) > budget_bytes and rows > 1:
            break
        try:
            route.version.model.call(route.signature_name, inputs)
        except OutOfMemoryError:
            if rows > 1:
                route.policy.limit.refused(rows, time.monotonic())
            break
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
