"""No bytes make the decoder raise: each record ends as a job or with a sentence that says what is wrong."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.strategies import jobs, saids

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import JobHeaders, parse_job_headers
from penstock_schemas.ids import is_valid_id_bytes
from penstock_schemas.jobs import Decoded, JobDecoder, Records, encode_job
from penstock_schemas.limits import Limits

LIMITS = Limits(record_bytes=4000, header_bytes=1500, rows=8, tensors=4, rank=5, elements=64, string_bytes=30)
HEADER_NAMES = [
    "ce_id", "CE_ID", "penstock-id", "penstock-attempt", "penstock-generation", "ce_deadline", "ce_replyto", "ce_subject",
    "content-type", "Inference-Header-Content-Length", "inference-header-content-length", "traceparent", "other",
]  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(HEADER_NAMES) | st.text(max_size=5),
        st.none() | st.binary(max_size=30) | st.integers(-5, 5000).map(lambda number: str(number).encode()),
    ),
    max_size=4,
)
WORDS = st.sampled_from([
    "inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "id", "model_name", "binary_data_size", "timeout",
    "reply_to", "FP32", "BYTES", "BOOL", "INT8", "base64", "content_type", "x",
])  # fmt: skip
TOKENS = [b"\n", b'"', b"{", b"]", b"1e9", b"-1", b"null", b"true"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


def check(decoded: Decoded, count: int) -> None:
    """Each record is in one place exactly, has an id, and an error that is a sentence of reasonable length."""
    placed = [index for group in decoded.groups for index in group.indices.tolist()]
    placed += [index for index, _ in decoded.errors] + decoded.expired
    assert sorted(placed) == list(range(count))
    assert len(decoded.ids) == count
    assert all(is_valid_id_bytes(one) or one.startswith(b"~") for one in decoded.ids)
    for _, error in decoded.errors:
        assert error.code in {ErrorCode.INVALID_JOB, ErrorCode.TOO_LARGE}
        assert 10 < len(error.message) < 1500
        assert error.message.isprintable()
        assert error.message.encode()


@settings(max_examples=300)
@given(values=st.lists(st.none() | st.binary(max_size=80), min_size=1, max_size=12), headers=HEADERS, key=st.binary(max_size=5))
def test_arbitrary_bytes_are_refused_in_a_sentence(
    values: list[bytes | None], headers: list[tuple[str, bytes | None]], key: bytes
) -> None:
    records = Records.of(values, keys=[key] * len(values), headers={0: headers})
    check(JobDecoder(LIMITS).decode(records, now_ms=10**12), len(values))


@settings(max_examples=250)
@given(document=st.dictionaries(WORDS, JSON, max_size=6), raw=st.binary(max_size=20))
def test_arbitrary_json_is_refused_in_a_sentence(document: dict[str, Any], raw: bytes) -> None:
    try:
        text = orjson.dumps(document)
    except TypeError:  # An integer that orjson does not write.
        return
    values: list[bytes | None] = [text, text + b"\n" + raw, *[text + b"\n" + b"\0" * 8] * 9]
    check(JobDecoder(LIMITS).decode(Records.of(values), now_ms=0), len(values))


@settings(max_examples=250)
@given(data=st.data(), binary=st.booleans(), said=saids(), copies=st.sampled_from([1, 2, 10]))
def test_mutated_jobs_are_read_or_refused_in_a_sentence(
    data: st.DataObject, binary: bool, said: dict[str, Any], copies: int
) -> None:
    value = bytearray(encode_job(data.draw(jobs(in_json=True)), **said, binary=binary))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        cut = data.draw(st.integers(0, 8))
        value[at : at + cut] = data.draw(st.binary(max_size=8) | st.sampled_from(TOKENS))
    values: list[bytes | None] = [bytes(value)] * copies
    check(JobDecoder(LIMITS).decode(Records.of(values), now_ms=0), copies)


@settings(max_examples=200)
@given(data=st.data(), which=st.sampled_from(["name", "shape", "datatype", "data"]), wrong=JSON)
def test_a_wrong_field_is_named_with_its_tensor(data: st.DataObject, which: str, wrong: Any) -> None:
    inputs = data.draw(jobs(in_json=True))
    document = orjson.loads(encode_job(inputs, binary=False))
    victim = data.draw(st.integers(0, len(inputs) - 1))
    right = document["inputs"][victim][which]
    document["inputs"][victim][which] = wrong
    try:
        value = orjson.dumps(document)
    except TypeError:
        return
    # Under the ordinary limits: the others must be right, or one of them would be named.
    decoded = JobDecoder().decode(Records.of([value]), now_ms=0)
    check(decoded, 1)
    # A bare true or false may be the data of a scalar, so it is wrong elsewhere only.
    of_no_kind = wrong is None or isinstance(wrong, dict) or (which != "data" and isinstance(wrong, bool))
    of_no_kind = of_no_kind or (which == "shape" and not isinstance(wrong, list))
    # A job's one input may be without a name.
    of_no_kind = of_no_kind and not (which == "name" and wrong is None and len(inputs) == 1)
    if of_no_kind and wrong != right:
        ((_, error),) = decoded.errors
        assert names_it(error, list(inputs)[victim], victim), error.message


def names_it(error: JobError, name: str, position: int) -> bool:
    """Whether the message says which tensor it is about (of two equal names, or of none, by position)."""
    return f'"{name}"' in error.message or f"inputs[{position}]" in error.message


@settings(max_examples=300)
@given(headers=HEADERS)
def test_headers_never_raise(headers: list[tuple[str, bytes | None]]) -> None:
    told = parse_job_headers(headers)
    assert isinstance(told, JobHeaders)
    assert told.id is None or is_valid_id_bytes(told.id)
    assert told.attempt >= 1
    assert told.generation >= 0
