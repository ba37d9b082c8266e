"""Owns answers that the parent itself gives: for jobs that no engine can be given, or that have killed theirs too often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from penstock_schemas.jobs import JobDecoder, Records
from penstock_schemas.outcomes import encode_failed
from penstock_worker.engine.wire import Answer, Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock_schemas.errors import JobError
    from penstock_worker.intake.delivery import Delivery


def reject(delivery: Delivery, indices: Sequence[int], error: JobError, decoder: JobDecoder, evidence: str = "") -> Answer:
    """The answer that ends the jobs ``indices`` of ``delivery`` with ``error``.

    Each is decoded as far as that goes, for its id and its caller; an error of its own that shows there goes first.
    """
    keys: list[bytes] = []
    values: list[bytes] = []
    failures: dict[int, Failure] = {}
    for index in indices:
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
        told = decoded.errors[0][1] if decoded.errors else error
        tries = delivery.tries(index)
        model = None if request is None else request.model_name
        keys.append(decoded.ids[0])
        values.append(
            encode_failed(
                id=decoded.ids[0],
                status="failed",
                error=told,
                request=request,
                model_name=model,
                model_version=None if request is None else request.model_version,
                origin=f"{delivery.topic}-{delivery.partitions[index]}-{delivery.offsets[index]}",
                attempts=tries.attempt,
                generation=tries.generation,
                reply_to=None if request is None else request.reply_to,
                timings=None,
            )
        )
        timeout_us = None if request is None else request.timeout_us
        failures[index] = Failure(told.code.value, told.message, evidence, model, timeout_us=timeout_us)
    return Answer(-1, np.array(indices, np.int32).tobytes(), keys, values, failures)
