"""Owns the engine's reading side: a thread that takes deliveries, decodes them, and queues their jobs for the model.

It runs beside the model (which holds no lock while it computes), so the next batch is decoded while one is running.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import numpy as np

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.answers import Refusal, refused
from penstock_worker.engine.block import Block
from penstock_worker.engine.catalog import Catalog, Route
from penstock_worker.engine.runner import non_finite_jobs
from penstock_worker.engine.wire import Answer, Arrived

if TYPE_CHECKING:
    from penstock_schemas.jobs import Decoded, JobDecoder, JobGroup, Request

_ROUTES = 4096
"""Most requests whose route is remembered: JSON jobs differ in shape and parameters only, so few suffice."""


class Reader:
    """Turns deliveries into blocks that fit a served model, and into answers for the jobs that do not."""

    def __init__(self, decoder: JobDecoder, catalog: Catalog) -> None:
        self._decoder = decoder
        self._catalog = catalog
        self._routes: dict[Request, Route | JobError] = {}

    def read(self, sequence: int, arrived: Arrived) -> tuple[list[Block], Answer | None]:
        """The blocks of one delivery, and an answer for those of its jobs that are refused (None where none is)."""
        now_ms = int(time.time() * 1000) + arrived.notice.ahead_ms
        begin = time.perf_counter()
        decoded = self._decoder.decode(arrived.records, now_ms)
        decode_us = int((time.perf_counter() - begin) * 1e6)
        refusals = self._refused_by_decoder(arrived, decoded)
        keys_are_ids = decoded.ids == arrived.keys
        sizes = np.diff(arrived.records.ends, prepend=0)
        blocks: list[Block] = []
        for group in decoded.groups:
            route = self._route(group.request)
            if isinstance(route, JobError):
                refusals += [_refusal(arrived, decoded, index, route, group.request) for index in group.indices.tolist()]
                continue
            if route.version.name in arrived.notice.blocked:
                refusals += _unavailable(arrived, decoded, group, route)
                continue
            _name_input(group, route)
            kept = self._finite(arrived, decoded, group, route, refusals)
            if len(kept) == 0:
                continue
            request, whole = group.request, len(kept) == len(group.indices)
            indices = group.indices if whole else group.indices[kept]
            # All jobs of the delivery may be here and yet in another order: those of one length, or of one line, come together.
            everything = len(indices) == len(decoded.ids) and bool((np.diff(indices) == 1).all())
            blocks.append(
                Block(
                    sequence=sequence,
                    topic=arrived.topic,
                    solo=arrived.solo,
                    route=route,
                    request=request,
                    rows=request.inputs[0].shape[0] if route.policy.batched else 1,
                    indices=indices.astype(np.int32),
                    ids=decoded.ids if everything else [decoded.ids[i] for i in indices.tolist()],
                    keys_are_ids=keys_are_ids,
                    partitions=arrived.records.partitions[indices],
                    offsets=arrived.records.offsets[indices],
                    queue_us=np.maximum(0, now_ms - arrived.records.timestamps_ms[indices]) * 1000,
                    bytes=int(sizes[indices].sum()),
                    decode_us=decode_us,
                    ready_at=time.monotonic(),
                    inputs=group.inputs if whole else {name: array[kept] for name, array in group.inputs.items()},
                )
            )
        return blocks, refused(sequence, refusals) if refusals else None

    def _route(self, request: Request) -> Route | JobError:
        route = self._routes.get(request)
        if route is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            route = self._routes[request] = self._catalog.route(request)
        return route

    @staticmethod
    def _refused_by_decoder(arrived: Arrived, decoded: Decoded) -> list[Refusal]:
        refusals = [_refusal(arrived, decoded, index, error, decoded.context.get(index)) for index, error in decoded.errors]
        late = JobError(ErrorCode.DEADLINE_EXCEEDED, "the job's deadline had passed before a worker came to it: it was not run")
        for index in decoded.expired:
            refusals.append(_refusal(arrived, decoded, index, late, decoded.context.get(index))._replace(status="expired"))
        return refusals

    @staticmethod
    def _finite(
        arrived: Arrived, decoded: Decoded, group: JobGroup, route: Route, refusals: list[Refusal]
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The jobs of ``group`` whose inputs are finite, or all where the model allows others; the rest join ``refusals``."""
        jobs = len(group.indices)
        bad = {} if route.version.settings.allow_non_finite else non_finite_jobs(group.inputs, jobs)
        for job, name in bad.items():
            what = f"input {name!r} holds NaN or infinity (as {group.inputs[name].dtype})"
            message = f"{what}; model {route.version.name!r} takes finite numbers only"
            error = JobError(ErrorCode.NON_FINITE_INPUT, message)
            refusal = _refusal(arrived, decoded, int(group.indices[job]), error, group.request)
            refusals.append(refusal._replace(version=route.version))
        return np.array([job for job in range(jobs) if job not in bad], np.int64) if bad else np.arange(jobs)


def _unavailable(arrived: Arrived, decoded: Decoded, group: JobGroup, route: Route) -> list[Refusal]:
    """Refusals of all jobs of ``group``, whose model is blocked."""
    message = f"model {route.version.name!r} fails every job at the moment: the job was not run"
    error = JobError(ErrorCode.MODEL_UNAVAILABLE, message)
    refusals = [_refusal(arrived, decoded, index, error, group.request) for index in group.indices.tolist()]
    return [refusal._replace(version=route.version) for refusal in refusals]


def _name_input(group: JobGroup, route: Route) -> None:
    """Give an input that was sent without a name the name of the model's one input."""
    if "" in group.inputs:
        (name,) = route.signature.inputs
        group.inputs = {name: group.inputs[""]}
        group.request = dataclasses.replace(group.request, inputs=(dataclasses.replace(group.request.inputs[0], name=name),))


def _refusal(arrived: Arrived, decoded: Decoded, index: int, error: JobError, request: Request | None) -> Refusal:
    origin = f"{arrived.topic}-{arrived.records.partitions[index]}-{arrived.records.offsets[index]}"
    return Refusal(index, decoded.ids[index], origin, error, request)
