"""Deliveries of many records: like ones are read in columns, and the answer is the one that single reading gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from penstock_schemas.alike import find_alike, first_line
from penstock_schemas.jobs import JobDecoder, JobEncoder, Records
from penstock_schemas.lru import BytesCache
from penstock_schemas.reading import RecordReader


def delivery(count: int = 64, **said: Any) -> tuple[Records, np.ndarray[Any, Any]]:
    images = np.random.default_rng(0).normal(size=(count, 1, 8)).astype(np.float32)
    encoder = JobEncoder(model_name="digits", **said)
    values = [encoder.encode({"x": image}) for image in images]
    return Records.of(values, keys=[b"k%d" % index for index in range(count)]), images


def test_like_jobs_cost_one_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_one_by_one(*_: Any) -> None:
        raise AssertionError("like records were read one by one")

    monkeypatch.setattr(RecordReader, "split", not_one_by_one)
    records, images = delivery()
    (group,) = JobDecoder().decode(records, now_ms=0).groups
    np.testing.assert_array_equal(group.inputs["x"], images)
    assert group.indices.tolist() == list(range(64))


def test_arrays_are_aligned_writable_and_do_not_hold_the_buffer() -> None:
    records, images = delivery()
    buffer = bytearray(records.buffer)
    borrowed = Records(
        memoryview(buffer), records.ends, records.keys, records.timestamps_ms, records.partitions, records.offsets
    )
    (group,) = JobDecoder().decode(borrowed, now_ms=0).groups
    found = group.inputs["x"]
    assert found.flags.aligned
    assert found.flags.writeable
    assert found.flags.c_contiguous
    buffer[:] = b"\0" * len(buffer)
    np.testing.assert_array_equal(found, images)
    borrowed.buffer.release()  # type: ignore[union-attr]
    buffer.clear()  # Raises BufferError if anything still holds the memory.


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100])
def test_a_delivery_of_any_size_is_read(count: int) -> None:
    records, images = delivery(count)
    (group,) = JobDecoder().decode(records, now_ms=0).groups
    np.testing.assert_array_equal(group.inputs["x"], images)


def test_callers_that_take_turns_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    encoders = [JobEncoder(model_name=f"model-{index}", reply_to="me") for index in range(20)]
    images = rng.normal(size=(400, 1, 4)).astype(np.float32)
    values = [encoders[int(index**2) % 20].encode({"x": image}) for index, image in enumerate(images)]
    decoded = JobDecoder().decode(Records.of(values), now_ms=0)
    assert decoded.errors == []
    for group in decoded.groups:
        assert group.request.model_name is not None
        for row, index in enumerate(group.indices.tolist()):
            assert group.request.model_name == f"model-{index**2 % 20}"
            np.testing.assert_array_equal(group.inputs["x"][row], images[index])
    assert sum(len(group.indices) for group in decoded.groups) == 400


def test_both_encodings_of_one_request_meet_in_one_group() -> None:
    image = np.ones((1, 4), np.float32)
    binary = JobEncoder(model_name="m").encode({"x": image})
    inline = b'{"model_name":"m","inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,1,1,1]}],'
    inline += b'"parameters":{"binary_data_output":true}}'
    (group,) = JobDecoder().decode(Records.of([binary, inline] * 20), now_ms=0).groups
    assert sorted(group.indices.tolist()) == list(range(40))
    assert group.inputs["x"].tolist() == [[[1] * 4]] * 40


def test_images_of_different_sizes_meet_in_one_group() -> None:
    encoder = JobEncoder(model_name="m")
    images = [b"\xff\xd8" + b"x" * size for size in range(50)]
    values = [encoder.encode({"x": np.array([image], object)}) for image in images]
    (group,) = JobDecoder().decode(Records.of(values), now_ms=0).groups
    assert group.inputs["x"].shape == (50, 1)
    assert [group.inputs["x"][row, 0] for row in np.argsort(group.indices)] == images


def test_one_bad_record_among_like_ones_fails_alone() -> None:
    records, images = delivery()
    values = [bytes(records.buffer)[end - length : end] for end, length in _ends(records)]
    values[5] = values[5][:-1]
    values[6] = b"?" + values[6][1:]
    decoded = JobDecoder().decode(Records.of(values), now_ms=0)
    assert sorted(index for index, _ in decoded.errors) == [5, 6]
    (group,) = decoded.groups
    np.testing.assert_array_equal(group.inputs["x"], np.delete(images, [5, 6], axis=0)[np.argsort(np.argsort(group.indices))])


def test_a_bad_key_or_a_header_takes_one_record_out_of_the_columns() -> None:
    records, _ = delivery()
    keys = list(records.keys)
    keys[3] = b"not an id"
    headers = {4: [("penstock-attempt", b"2")]}
    decoded = JobDecoder().decode(
        Records(records.buffer, records.ends, keys, records.timestamps_ms, records.partitions, records.offsets, headers),
        now_ms=0,
    )
    assert [index for index, _ in decoded.errors] == [3]
    assert sorted((len(group.indices), group.request.attempt) for group in decoded.groups) == [(1, 2), (62, 1)]


def test_requests_too_long_to_be_kept_are_not_taken_for_one_another() -> None:
    values = [
        orjson.dumps(
            {"more": "x" * 20_000, "inputs": [{"name": f"n{index}", "shape": [1], "datatype": "INT8", "data": [index]}]}
        )
        for index in range(100)
    ]
    headers = {index: [("penstock-attempt", b"2")] for index in range(0, 100, 3)}
    decoded = JobDecoder().decode(Records.of(values, headers=headers), now_ms=0)
    found = {(group.request.inputs[0].name, *group.inputs, *group.indices.tolist()) for group in decoded.groups}
    assert found == {(f"n{index}", f"n{index}", index) for index in range(100)}


def test_empty_tensors_in_columns() -> None:
    encoder = JobEncoder()
    value = encoder.encode({"x": np.zeros((2, 0), np.float32), "y": np.zeros((), np.int64)})
    (group,) = JobDecoder().decode(Records.of([value] * 20), now_ms=0).groups
    assert group.inputs["x"].shape == (20, 2, 0)
    assert group.inputs["y"].tolist() == [0] * 20


def test_a_delivery_of_nothing_but_empty_values() -> None:
    decoded = JobDecoder().decode(Records.of([b"", None] * 10), now_ms=0)
    assert len(decoded.errors) == 20
    assert decoded.ids[3] == b"~0-3--1"
    assert JobDecoder().decode(Records.of([]), now_ms=0).ids == []


def test_lines_are_found_where_they_end() -> None:
    data = np.frombuffer(b"ab\ncd" + b"x" * 5000 + b"\nyy", np.uint8)
    assert first_line(data, 0, 5, 100) == b"ab\n"
    assert first_line(data, 0, 3, 100) is None  # nothing follows
    assert first_line(data, 3, 5005, 100) is None  # too long
    assert first_line(data, 3, 5005, 6000) == b"cd" + b"x" * 5000 + b"\n"


def test_records_that_do_not_lie_side_by_side_are_gathered() -> None:
    parts = [b"a\n%02d" % index if index % 2 else b"longer\n" for index in range(40)]
    data = np.frombuffer(b"".join(parts), np.uint8)
    lengths = np.array([len(part) for part in parts])
    starts = np.cumsum(lengths) - lengths
    groups, others = find_alike(data, starts, lengths, np.arange(40), 100)
    assert sorted(others) == list(range(0, 40, 2))
    (alike,) = groups
    assert [row.tobytes() for row in alike.rows] == parts[1::2]


def test_the_cache_is_bounded_in_entries_and_forgets_what_was_not_used() -> None:
    cache: BytesCache[int] = BytesCache(entries=3, total=100, longest=50)
    for index in range(4):
        cache.put(b"%d" % index, index)
    assert [cache.get(b"%d" % index) for index in (0, 3, 2, 1)] == [None, 3, 2, 1]
    cache.put(b"4", 4)
    assert cache.get(b"3") is None
    assert cache.get(b"2") == 2


def test_the_cache_is_bounded_in_bytes() -> None:
    cache: BytesCache[int] = BytesCache(entries=100, total=100, longest=50)
    for index in range(20):
        cache.put(b"%048d" % index, index)
        assert len(cache) <= 2
    cache.put(b"z" * 51, 9)
    assert cache.get(b"z" * 51) is None


def _ends(records: Records) -> list[tuple[int, int]]:
    ends = records.ends.tolist()
    return [(end, end - start) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
