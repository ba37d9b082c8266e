"""Whatever a caller encodes, the decoder reads back: every datatype, both encodings, alone and in company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.property.strategies import IDS, jobs, saids, same, tensors

from penstock_schemas.datatypes import DATATYPES
from penstock_schemas.jobs import Decoded, JobDecoder, Records, encode_job

Inputs = dict[str, NDArray[Any]]


def only_job(decoded: Decoded) -> Inputs:
    assert decoded.errors == []
    assert decoded.expired == []
    (group,) = decoded.groups
    assert group.indices.tolist() == [0]
    return {name: array[0, ...] for name, array in group.inputs.items()}


@given(inputs=jobs(in_json=False), said=saids(), key=IDS)
def test_a_binary_job_comes_back(inputs: Inputs, said: dict[str, Any], key: str) -> None:
    value = encode_job(inputs, **said)
    decoded = JobDecoder().decode(Records.of([value], keys=[key.encode()]), now_ms=0)
    found = only_job(decoded)
    assert list(found) == list(inputs)
    assert all(same(found[name], inputs[name]) for name in inputs)
    assert decoded.ids == [key.encode()]
    request = decoded.groups[0].request
    assert {name: getattr(request, name) for name in said} == said
    assert request.binary_output


@given(inputs=jobs(in_json=True), said=saids(), job_id=IDS)
def test_a_json_job_comes_back(inputs: Inputs, said: dict[str, Any], job_id: str) -> None:
    value = encode_job(inputs, **said, binary=False, job_id=job_id)
    decoded = JobDecoder().decode(Records.of([value], keys=[b"another"]), now_ms=0)
    found = only_job(decoded)
    assert all(same(found[name], inputs[name]) for name in inputs)
    assert decoded.ids == [job_id.encode()]
    assert not decoded.groups[0].request.binary_output


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@settings(max_examples=30)
@given(data=st.data())
def test_every_datatype_comes_back(datatype: str, binary: bool, data: st.DataObject) -> None:
    if datatype == "FP16" and not binary:
        return  # Refused in JSON: see the unit tests.
    array = data.draw(tensors(datatype, in_json=not binary))
    found = only_job(JobDecoder().decode(Records.of([encode_job({"x": array}, binary=binary)]), now_ms=0))
    assert same(found["x"], array)


@settings(max_examples=60)
@given(
    kinds=st.lists(st.tuples(jobs(in_json=True), saids()), min_size=1, max_size=4),
    picks=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40),
    as_view=st.booleans(),
)
def test_jobs_in_company_come_back_as_they_would_alone(
    kinds: list[tuple[Inputs, dict[str, Any]]], picks: list[tuple[int, bool]], as_view: bool
) -> None:
    chosen = [(*kinds[pick % len(kinds)], binary) for pick, binary in picks]
    values = [encode_job(inputs, **said, binary=binary) for inputs, said, binary in chosen]
    records = Records.of(values, keys=[b"k%d" % index for index in range(len(values))])
    if as_view:
        records = Records(memoryview(records.buffer), records.ends, records.keys, *_places(records))
    decoded = JobDecoder().decode(records, now_ms=0)
    assert decoded.errors == []
    seen: list[int] = []
    for group in decoded.groups:
        assert len({id(array) for array in group.inputs.values()}) == len(group.inputs)
        for row, index in enumerate(group.indices.tolist()):
            inputs, said, binary = chosen[index]
            seen.append(index)
            assert group.request.binary_output == binary
            assert group.request.model_name == said["model_name"]
            assert all(same(group.inputs[name][row, ...], inputs[name]) for name in inputs)
    assert sorted(seen) == list(range(len(values)))
    assert len(decoded.groups) == len({group.request for group in decoded.groups})


def _places(records: Records) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    return records.timestamps_ms, records.partitions, records.offsets
