"""Owns turning what came of jobs into outcome records, ready to be published."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from penstock_schemas.errors import JobError
from penstock_schemas.outcomes import encode_failed, encode_succeeded
from penstock_worker.engine.runner import Ran
from penstock_worker.engine.wire import Answer, Failure, Stats
from penstock_worker.limits import too_large_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_schemas.jobs import Request
    from penstock_worker.engine.block import Block
    from penstock_worker.engine.catalog import Version


class Answers:
    """Encodes outcomes; ``max_outcome_bytes`` is the outcomes topic's limit."""

    def __init__(self, max_outcome_bytes: int) -> None:
        self._limit = max_outcome_bytes

    def succeeded(self, ran: Ran, infer_us: int, started_at: float) -> tuple[Answer, NDArray[np.int64]]:
        """The answer for one piece that ran, and the µs that each of its jobs waited for the batch.

        ``started_at`` (monotonic seconds) is when the batch began to run.
        """
        block, begin, end = ran.piece
        wait_us = np.full(end - begin, max(0, int((started_at - block.ready_at) * 1e6)), np.int64)
        good = (
            np.arange(begin, end) if not ran.failed else np.array([j for j in range(begin, end) if j - begin not in ran.failed])
        )
        values: list[bytes] = []
        failures: dict[int, Failure] = {}
        if len(good):
            outputs = ran.outputs if not ran.failed else {name: array[good - begin] for name, array in ran.outputs.items()}
            encoded = _encode(block, good, outputs, wait_us[good - begin], infer_us, ran.batch_rows)
            for job, value in zip(good.tolist(), encoded, strict=True):
                if isinstance(value, bytes) and len(value) <= self._limit:
                    values.append(value)
                    continue
                error = value if isinstance(value, JobError) else too_large_error(len(value), self._limit)
                values.append(_failed_of(block, job, error))
                failures[int(block.indices[job])] = _failure_of(block, error, "", ran.batch_rows)
        for job, (error, evidence) in ran.failed.items():
            values.append(_failed_of(block, begin + job, error))
            failures[int(block.indices[begin + job])] = _failure_of(block, error, evidence, ran.batch_rows)
        order = (
            good if not ran.failed else np.concatenate([good, np.array([begin + job for job in ran.failed])]).astype(np.int64)
        )
        keys = None if block.keys_are_ids else [block.ids[job] for job in order.tolist()]
        model = block.route.version.name
        return Answer(block.sequence, block.indices[order].tobytes(), keys, values, failures, model=model), wait_us


class Refusal(NamedTuple):
    """A job that never reaches a batch: ``place`` is its index in the delivery.

    ``origin`` is ``topic-partition-offset``; ``request`` is there as far as it is known, ``version`` where it has a route.
    """

    place: int
    id: bytes
    origin: str
    error: JobError
    request: Request | None
    status: Literal["failed", "expired"] = "failed"
    version: Version | None = None

    @property
    def failure(self) -> Failure:
        model, version, timeout_us = None, None, None
        if self.request is not None:
            model, version, timeout_us = self.request.model_name, self.request.model_version, self.request.timeout_us
        if self.version is not None:
            model, version = self.version.name, self.version.version
        return Failure(self.error.code.value, self.error.message, "", model, version, 0, timeout_us)


def refused(sequence: int, refusals: list[Refusal]) -> Answer:
    """The answer for jobs that never reach a batch; expired ones get no dead letter."""
    return Answer(
        sequence,
        np.array([refusal.place for refusal in refusals], np.int32).tobytes(),
        [refusal.id for refusal in refusals],
        [_refused_record(refusal) for refusal in refusals],
        {refusal.place: refusal.failure for refusal in refusals if refusal.status == "failed"},
        sum(r.status == "expired" for r in refusals),
    )


def _refused_record(refusal: Refusal) -> bytes:
    attempts = 1 if refusal.request is None else refusal.request.attempt
    version = None if refusal.version is None else refusal.version.version
    return failed_record(
        refusal.id, refusal.origin, refusal.error, refusal.request, attempts, status=refusal.status, model_version=version
    )


def failed_record(
    job_id: bytes,
    origin: str,
    error: JobError,
    request: Request | None,
    attempts: int,
    *,
    status: Literal["failed", "expired"] = "failed",
    model_version: str | None = None,
) -> bytes:
    """One failed or expired outcome."""
    return encode_failed(
        id=job_id,
        status=status,
        error=error,
        request=request,
        model_name=None if request is None else request.model_name,
        model_version=model_version if request is None else model_version or request.model_version,
        origin=origin,
        attempts=attempts,
        generation=0 if request is None else request.generation,
        reply_to=None if request is None else request.reply_to,
        timings=None,
    )


def stats(ran: list[Ran], infer_us: int, encode_us: int, waits: list[NDArray[np.int64]]) -> Stats:
    """The batch in figures; ``ran`` holds at least one piece."""
    first = ran[0].piece.block
    queues = [r.piece.block.queue_us[r.piece.begin : r.piece.end] for r in ran]
    return Stats(
        model=first.route.version.name,
        version=first.route.version.version,
        rows=sum(r.piece.rows for r in ran),
        decode_us=first.decode_us,
        infer_us=infer_us,
        encode_us=encode_us,
        queue_us=np.concatenate(queues).tobytes(),
        wait_us=np.concatenate(waits).tobytes(),
    )


def _encode(
    block: Block,
    jobs: NDArray[np.int_],
    outputs: dict[str, NDArray[Any]],
    wait_us: NDArray[np.int64],
    infer_us: int,
    batch_rows: int,
) -> list[bytes | JobError]:
    begin = time.perf_counter_ns()
    chosen = outputs
    if block.request.outputs:
        chosen = {output.name: outputs[output.name] for output in block.request.outputs}
    places: list[int] = jobs.tolist()
    ids = block.ids if len(jobs) == block.jobs else [block.ids[place] for place in places]
    return encode_succeeded(
        block.request,
        model_name=block.route.version.name,
        model_version=block.route.version.version,
        ids=ids,
        topic=block.topic,
        partitions=block.partitions[jobs],
        offsets=block.offsets[jobs],
        outputs=chosen,
        queue_us=block.queue_us[jobs],
        decode_us=block.decode_us,
        batch_wait_us=wait_us,
        infer_us=infer_us,
        encode_us=lambda: (time.perf_counter_ns() - begin) // 1000,
        batch_rows=batch_rows,
    )


def _failure_of(block: Block, error: JobError, evidence: str, batch_rows: int) -> Failure:
    version = block.route.version
    timeout_us = block.request.timeout_us
    return Failure(error.code.value, error.message, evidence, version.name, version.version, batch_rows, timeout_us)


def _failed_of(block: Block, job: int, error: JobError) -> bytes:
    origin = f"{block.topic}-{block.partitions[job]}-{block.offsets[job]}"
    return failed_record(
        block.ids[job], origin, error, block.request, block.request.attempt, model_version=block.route.version.version
    )
