"""Owns answers that the parent itself gives: for jobs that no engine can be given, or that have killed theirs too often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from penstock_schemas.headers import parse_job_headers
from penstock_schemas.ids import derived_id, is_valid_id_bytes
from penstock_schemas.jobs import JobDecoder, Records, Request
from penstock_schemas.outcomes import encode_failed
from penstock_worker.engine.wire import Answer, Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock_schemas.errors import JobError
    from penstock_worker.intake.delivery import Delivery


def reject(
    delivery: Delivery, indices: Sequence[int], error: JobError, decoder: JobDecoder | None, evidence: str = ""
) -> Answer:
    """The answer that ends the jobs ``indices`` of ``delivery`` with ``error``.

    Each is decoded as far as that goes, for its id and its caller; an error of its own that shows there goes first. Without
    a decoder its bytes are left alone, and what its headers and key say must do.
    """
    keys: list[bytes] = []
    values: list[bytes] = []
    failures: dict[int, Failure] = {}
    for index in indices:
        job_id, request, own = _read(delivery, index, decoder) if decoder is not None else _read_around(delivery, index)
        told = own or error
        tries = delivery.tries(index)
        keys.append(job_id)
        values.append(
            encode_failed(
                id=job_id, status="failed", error=told, request=request, origin=tries.origin,
                attempts=tries.attempt, generation=tries.generation,
            )
        )  # fmt: skip
        failures[index] = Failure(
            told.code.value, told.message, evidence, request.model_name, timeout_us=request.timeout_us, blind=decoder is None
        )
    return Answer(-1, np.array(indices, np.int32).tobytes(), keys, values, failures)


def _read(delivery: Delivery, index: int, decoder: JobDecoder) -> tuple[bytes, Request, JobError | None]:
    """A job's id, its request as far as it is known, and what is wrong with it itself."""
    records = Records.of(
        [delivery.values[index]],
        keys=[delivery.keys[index]],
        timestamps_ms=[int(delivery.timestamps_ms[index])],
        partitions=[int(delivery.partitions[index])],
        offsets=[int(delivery.offsets[index])],
        headers={0: delivery.headers[index]} if index in delivery.headers else {},
    )
    decoded = decoder.decode(records, now_ms=0)  # long ago: a deadline is not judged a second time
    request = decoded.groups[0].request if decoded.groups else decoded.context.get(0)
    return decoded.ids[0], request or Request(), decoded.errors[0][1] if decoded.errors else None


def _read_around(delivery: Delivery, index: int) -> tuple[bytes, Request, JobError | None]:
    """The same without a look at the value, in which the job's own id and caller may stand."""
    told = parse_job_headers(delivery.headers.get(index, ()))
    key = delivery.keys[index]
    place = int(delivery.partitions[index]), int(delivery.offsets[index]), int(delivery.timestamps_ms[index])
    job_id = told.id or (key if key and is_valid_id_bytes(key) else derived_id(*place).encode())
    return job_id, Request(model_name=told.subject, reply_to=told.reply_to), None
