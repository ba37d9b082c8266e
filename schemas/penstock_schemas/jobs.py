"""Owns bytes to jobs: :class:`JobDecoder` reads deliveries of records in columns and never raises for what they hold.

What it stands on is offered here, too: :mod:`requests` (what a request says), :mod:`records` (the columns),
:mod:`tensors` (values) and :mod:`encoding` (jobs to bytes).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penstock_schemas.alike import FEWEST, Alike, find_alike
from penstock_schemas.collect import Collector
from penstock_schemas.encoding import JobEncoder, encode_job, encode_request_line
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import JobHeaders, parse_job_headers
from penstock_schemas.ids import ID_RULE, are_valid_ids, derived_id, is_valid_id_bytes
from penstock_schemas.limits import Limits
from penstock_schemas.reading import RecordReader, Single
from penstock_schemas.records import Decoded, JobGroup, Records
from penstock_schemas.requests import Request, RequestedOutput, TensorSpec
from penstock_schemas.tensors import stack_raw
from penstock_schemas.text import shorten

__all__ = [
    "Decoded",
    "JobDecoder",
    "JobEncoder",
    "JobGroup",
    "Records",
    "Request",
    "RequestedOutput",
    "TensorSpec",
    "encode_job",
    "encode_request_line",
]


class JobDecoder:
    """Decodes deliveries of job records. Keeps what it has parsed from one delivery to the next; not for several threads."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._reader = RecordReader(self._limits)

    def decode(self, records: Records, now_ms: int) -> Decoded:
        """Decode one delivery; ``now_ms`` (Unix ms) is what deadlines are judged by. Never raises for any bytes.

        Every record ends up in exactly one of ``groups``, ``errors`` and ``expired`` of the answer. About 0.2 us a record
        where callers send like jobs in binary without headers, 2 to 4 us otherwise.
        """
        if not len(records):
            return Decoded(ids=[])
        return _Delivery(self._limits, self._reader, records, now_ms).decode()


class _Delivery:
    """One call of :meth:`JobDecoder.decode`."""

    def __init__(self, limits: Limits, reader: RecordReader, records: Records, now_ms: int) -> None:
        self._limits = limits
        self._reader = reader
        self._records = records
        self._now_ms = now_ms
        self._source = records.buffer
        self._starts = np.concatenate((np.zeros(1, np.int64), records.ends[:-1]))
        self._lengths = records.ends - self._starts
        self._collector = Collector()
        self._told: dict[tuple[int, str | None, str | None, int, int], tuple[Request, Request]] = {}
        self._bad_keys: dict[int, bytes] = {}
        self._out = Decoded(ids=self._key_ids())

    def decode(self) -> Decoded:
        singles = list(range(len(self._records))) if len(self._records) < FEWEST else self._decode_alike()
        if singles:
            self._decode_singles(singles)
        self._out.groups = self._collector.groups()
        return self._out

    def _key_ids(self) -> list[bytes]:
        """Each record's key where that is an id, else a derived id; remembers the keys that are none."""
        keys = self._records.keys
        try:
            if are_valid_ids(keys):  # type: ignore[arg-type]  # A None among them is what the except is for.
                return list(keys)  # type: ignore[arg-type]
        except TypeError:
            pass
        records = self._records
        places = zip(records.partitions.tolist(), records.offsets.tolist(), records.timestamps_ms.tolist(), strict=True)
        ids: list[bytes] = []
        for index, (key, (partition, offset, timestamp)) in enumerate(zip(keys, places, strict=True)):
            if key and is_valid_id_bytes(key):
                ids.append(key)
                continue
            if key:
                self._bad_keys[index] = key
            ids.append(b"~%d-%d-%d" % (partition, offset, timestamp))
        return ids

    def _derived(self, index: int) -> bytes:
        records = self._records
        return derived_id(records.partitions[index], records.offsets[index], records.timestamps_ms[index]).encode()

    def _decode_alike(self) -> list[int]:
        """Decode what can be decoded in columns; the answer is what is left."""
        plain = self._lengths <= self._limits.record_bytes
        apart = [*self._records.headers, *self._bad_keys]
        plain[apart] = False
        data = np.frombuffer(self._source, np.uint8) if len(self._source) else np.empty(0, np.uint8)
        indices = np.flatnonzero(plain & (self._lengths > 0))
        groups, singles = find_alike(data, self._starts, self._lengths, indices, self._limits.header_bytes)
        for alike in groups:
            if not self._decode_columns(alike):
                singles.extend(alike.indices.tolist())
        singles.extend(np.flatnonzero(~plain | (self._lengths == 0)).tolist())
        return singles

    def _decode_columns(self, alike: Alike) -> bool:
        """Decode records of one length and line at once; False where each of them needs a look of its own."""
        told = self._reader.read_line(alike.line)
        if told is None or told.layout.error or told.bad_id or told.body_id:
            return False
        layout = told.layout
        plans, request = layout.template.plans, layout.template.request
        if len(alike.line) + layout.total != alike.rows.shape[1] or not all(plan.nbytes is not None for plan in plans):
            return False
        at = len(alike.line)
        columns: dict[str, NDArray[np.uint8]] = {}
        for plan in plans:
            size = plan.nbytes or 0
            columns[plan.spec.name] = alike.rows[:, at : at + size]
            if plan.datatype.name == "BOOL" and size and columns[plan.spec.name].max() > 1:
                return False
            at += size
        indices = alike.indices
        late = self._late(indices, request.timeout_us)
        if late is not None:
            for index in indices[late].tolist():
                self._expire(index, request)
            indices = indices[~late]
            columns = {name: column[~late] for name, column in columns.items()}
        if len(indices):
            stacked = {plan.spec.name: stack_raw(columns[plan.spec.name], plan) for plan in plans}
            self._collector.add_stack(request, (indices, stacked))
        return True

    def _late(self, indices: NDArray[np.int64], timeout_us: int | None) -> NDArray[np.bool_] | None:
        if timeout_us is None:
            return None
        stamps = self._records.timestamps_ms[indices]
        late = (stamps >= 0) & ((self._now_ms - stamps) * 1000 > timeout_us)
        return late if late.any() else None

    def _decode_singles(self, singles: list[int]) -> None:
        """Decode records one by one: the ordinary ones right here, with as little Python a record as can be."""
        buffer = self._records.buffer
        # Slices of bytes are cheaper than those of a view, unless copying costs more: large records.
        self._source = bytes(buffer) if len(buffer) <= 4096 * len(singles) else buffer
        reader, source, out_ids, most = self._reader, self._source, self._out.ids, self._limits.record_bytes
        starts, ends = self._starts.tolist(), self._records.ends.tolist()
        peculiar = {*self._records.headers, *self._bad_keys}
        for index in singles:
            start, end = starts[index], ends[index]
            if start == end or end - start > most or index in peculiar:
                self._decode_single(index)
                continue
            single = reader.split(source, start, end, None)
            if isinstance(single, JobError):
                self._fail(index, single, None)
                continue
            layout = single.layout
            request = layout.template.request
            if single.bad_id is not None or layout.error is not None:
                self._decode_single(index)
                continue
            if single.body_id is not None:
                out_ids[index] = single.body_id
            if request.timeout_us is not None and self._is_late(index, request, None):
                self._expire(index, request)
                continue
            values = reader.values(single, source, start, end)
            if isinstance(values, JobError):
                self._fail(index, values, request)
            else:
                self._collector.add(request, layout.template.plans, index, values)

    def _decode_single(self, index: int) -> None:
        """Decode any record whatever."""
        headers = self._records.headers.get(index)
        told = parse_job_headers(headers) if headers else None
        single = self._split(index, told)
        request = None if isinstance(single, JobError) else self._request(single.layout.template.request, told)
        error = self._settle_id(index, told, None if isinstance(single, JobError) else single)
        if isinstance(single, JobError):
            if told is not None:
                request = self._request(Request(), told)
            self._fail(index, error or single, request)
            return
        assert request is not None
        error = error or single.layout.error
        if error is not None:
            self._fail(index, error, request)
        elif self._is_late(index, request, told):
            self._expire(index, request)
        else:
            values = self._reader.values(single, self._source, int(self._starts[index]), int(self._records.ends[index]))
            if isinstance(values, JobError):
                self._fail(index, values, request)
            else:
                self._collector.add(request, single.layout.template.plans, index, values)

    def _split(self, index: int, told: JobHeaders | None) -> Single | JobError:
        length = int(self._lengths[index])
        if length == 0:
            what = "the record has no value (null)" if index in self._records.nulls else "the record's value is empty"
            return JobError(ErrorCode.INVALID_JOB, f"{what}; it must be an Open Inference Protocol request")
        if length > self._limits.record_bytes:
            return JobError(
                ErrorCode.TOO_LARGE, f"the value has {length} bytes; at most {self._limits.record_bytes} are allowed"
            )
        start = int(self._starts[index])
        return self._reader.split(self._source, start, start + length, None if told is None else told.content_length)

    def _settle_id(self, index: int, told: JobHeaders | None, single: Single | None) -> JobError | None:
        """Put the record's id in its place: header, else body, else key, else derived. The answer is what is wrong with it."""
        ids = self._out.ids
        if told is not None and told.error is not None:
            ids[index] = told.id or self._derived(index)
            return told.error
        if told is not None and told.id is not None:
            ids[index] = told.id
            return None
        if single is not None and single.bad_id is not None:
            ids[index] = self._derived(index)
            return single.bad_id
        if single is not None and single.body_id is not None:
            ids[index] = single.body_id
            return None
        bad_key = self._bad_keys.get(index)
        if bad_key is None:
            return None
        return JobError(
            ErrorCode.INVALID_JOB, f"the record key is {shorten(bad_key)}, and no other id is given; an id is {ID_RULE}"
        )

    def _request(self, request: Request, told: JobHeaders | None) -> Request:
        """``request`` with what the headers say on top; the same object for the same answer, as the collector wants it."""
        if told is None:
            return request
        model_name = request.model_name or told.subject
        reply_to = told.reply_to or request.reply_to
        if (model_name, reply_to, told.generation, told.attempt) == (request.model_name, request.reply_to, 0, 1):
            return request
        key = (id(request), model_name, reply_to, told.generation, told.attempt)
        if key not in self._told:
            changed = replace(request, model_name=model_name, reply_to=reply_to)
            changed = replace(changed, generation=told.generation, attempt=told.attempt)
            # The request is kept beside its answer, so that no other one can come to have its id.
            self._told[key] = request, changed
        return self._told[key][1]

    def _is_late(self, index: int, request: Request, told: JobHeaders | None) -> bool:
        if told is not None and told.deadline_ms is not None:
            return self._now_ms > told.deadline_ms
        if request.timeout_us is None:
            return False
        stamp = int(self._records.timestamps_ms[index])
        return stamp >= 0 and (self._now_ms - stamp) * 1000 > request.timeout_us

    def _fail(self, index: int, error: JobError, request: Request | None) -> None:
        self._out.errors.append((index, error))
        if request is not None:
            self._out.context[index] = request

    def _expire(self, index: int, request: Request) -> None:
        self._out.expired.append(index)
        self._out.context[index] = request
