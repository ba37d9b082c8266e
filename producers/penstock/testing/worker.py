"""Owns what the in-memory fleet does with one record: the real decoder, a Python function as the model, the real encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock_schemas.datatypes import datatype_of
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import JobDecoder, JobGroup, Records, Request
from penstock_schemas.limits import Limits
from penstock_schemas.outcomes import encode_failed, encode_succeeded

Arrays = dict[str, NDArray[Any]]
Model = Callable[[Arrays], Mapping[str, ArrayLike]]
"""Called once a job, with its inputs by name as the caller shaped them, rows first; answers outputs by name."""


class Fail(Exception):
    """For a model function to raise: its job fails with this code and message."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.MODEL_ERROR) -> None:
        super().__init__(message)
        self.error = JobError(code, message)


@dataclass(frozen=True, slots=True)
class ReceivedJob:
    """A job as it reached the fleet, for tests to look at. ``inputs`` is empty where it could not be decoded."""

    id: str
    topic: str
    model: str | None
    version: str | None
    signature: str | None
    inputs: Arrays
    timeout: float | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a job: the outcome's value, and the client to tell."""

    job: ReceivedJob
    value: bytes
    reply_to: str | None


@dataclass(frozen=True, slots=True)
class Served:
    """One version of a model."""

    function: Model
    allow_non_finite: bool
    input: str = ""
    """Under which name the function gets an input that was sent without one."""


class FakeWorker:
    """Models by name and version, and what they make of records."""

    def __init__(self, limits: Limits) -> None:
        self._decoder = JobDecoder(limits)
        self._models: dict[str, dict[str, Served]] = {}

    def serve(self, name: str, version: str, served: Served) -> None:
        self._models.setdefault(name, {})[version] = served

    def answer(
        self,
        topic: str,
        key: str,
        value: bytes,
        headers: Sequence[tuple[str, bytes | None]],
        *,
        offset: int,
        appended_ms: int,
        now_ms: int,
    ) -> Answer:
        """Decode, run, encode. ``appended_ms`` is when the broker took the record, ``now_ms`` when a worker takes it."""
        records = Records.of(
            [value],
            keys=[key.encode()],
            timestamps_ms=[appended_ms],
            offsets=[offset],
            headers={0: headers} if headers else None,
        )
        decoded = self._decoder.decode(records, now_ms)
        job_id = decoded.ids[0]
        group = decoded.groups[0] if decoded.groups else None
        request = group.request if group is not None else decoded.context.get(0, Request())
        inputs = {} if group is None else {name: stacked[0] for name, stacked in group.inputs.items()}
        if group is not None:
            result = self._run(group, inputs, job_id, topic, offset, max(0, now_ms - appended_ms) * 1000)
        elif decoded.errors:
            result = decoded.errors[0][1]
        else:
            result = JobError(ErrorCode.DEADLINE_EXCEEDED, "the deadline had passed before the job's turn came")
        if isinstance(result, JobError):
            result = encode_failed(
                id=job_id,
                status="expired" if decoded.expired else "failed",
                error=result,
                request=request,
                origin=f"{topic}-0-{offset}",
            )
        job = ReceivedJob(
            id=job_id.decode(),
            topic=topic,
            model=request.model_name,
            version=request.model_version,
            signature=request.signature,
            inputs=inputs,
            timeout=None if request.timeout_us is None else request.timeout_us / 1e6,
            headers=tuple(headers),
            value=value,
        )
        return Answer(job, result, request.reply_to)

    def _run(self, group: JobGroup, inputs: Arrays, job_id: bytes, topic: str, offset: int, queue_us: int) -> bytes | JobError:
        found = self._find(group.request)
        if isinstance(found, JobError):
            return found
        name, version, served = found
        try:
            outputs = _call(served, inputs)
        except Fail as failure:
            return failure.error
        except Exception as error:  # noqa: BLE001 - a model may raise what it likes: its job fails, as in the fleet
            return JobError(ErrorCode.MODEL_ERROR, f"{type(error).__name__}: {error}")
        unknown = [output.name for output in group.request.outputs if output.name not in outputs]
        if unknown:
            return JobError(
                ErrorCode.UNKNOWN_OUTPUT, f"there is no output {unknown[0]!r}; the model has {', '.join(map(repr, outputs))}"
            )
        (encoded,) = encode_succeeded(
            group.request,
            model_name=name,
            model_version=version,
            ids=[job_id],
            topic=topic,
            partitions=np.zeros(1, np.int32),
            offsets=np.array([offset], np.int64),
            outputs={name: array[np.newaxis] for name, array in outputs.items()},
            queue_us=np.array([queue_us], np.int64),
            decode_us=0,
            batch_wait_us=np.zeros(1, np.int64),
            infer_us=0,
            encode_us=lambda: 0,
            batch_rows=_rows(inputs),
        )
        return encoded

    def _find(self, request: Request) -> tuple[str, str, Served] | JobError:
        name = request.model_name
        if name is None and len(self._models) == 1:
            name = next(iter(self._models))
        if name is None or name not in self._models:
            served = ", ".join(map(repr, self._models)) or "none"
            said = "the job names no model, and there is not just one" if name is None else f"there is no model {name!r}"
            return JobError(ErrorCode.UNKNOWN_MODEL, f"{said}; models: {served}")
        versions = self._models[name]
        version = request.model_version or max(versions, key=lambda text: int(text) if text.isdecimal() else -1)
        if version not in versions:
            return JobError(
                ErrorCode.UNKNOWN_VERSION, f"model {name!r} has no version {version!r}; it has {', '.join(map(repr, versions))}"
            )
        return name, version, versions[version]


def _call(served: Served, inputs: Arrays) -> Arrays:
    """Run the function and check what goes in and comes out as an engine does. Raises Fail."""
    if not served.allow_non_finite:
        _check_finite(inputs, "input", ErrorCode.NON_FINITE_INPUT)
    answered: object = served.function({name or served.input: array for name, array in inputs.items()})
    if not isinstance(answered, Mapping):
        raise Fail(f"the model function answered {type(answered).__name__}; it must answer a mapping of output names to arrays")
    outputs: Arrays = {str(name): np.asarray(value) for name, value in answered.items()}
    for name, array in outputs.items():
        if datatype_of(array.dtype) is None:
            raise Fail(f"output {name!r} has dtype {array.dtype}, which no outcome carries")
    if not served.allow_non_finite:
        _check_finite(outputs, "output", ErrorCode.NON_FINITE_OUTPUT)
    return outputs


def _check_finite(arrays: Arrays, what: str, code: ErrorCode) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Fail(f"{what} {name!r} holds NaN or infinity, which the model does not allow", code)


def _rows(inputs: Arrays) -> int:
    return next((array.shape[0] for array in inputs.values() if array.ndim), 1)
