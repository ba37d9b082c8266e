"""Deliveries: columns of messages, cut by topic and bytes, and what is still unanswered of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.making import Message, a_delivery, messages

from penstock_schemas.errors import ErrorCode
from penstock_schemas.jobs import JobDecoder, Records, encode_job
from penstock_worker.intake.cut import cut
from penstock_worker.intake.delivery import Isolation, from_messages, runs
from penstock_worker.intake.ledger import Entry


def test_columns_hold_what_the_messages_hold() -> None:
    headers: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", None)]
    made = from_messages(
        "f.jobs",
        messages(Message(b"one", b"k", 3, 17, 1000, headers), Message(None, None, 4, 18, 1001), Message(b"", b"", 4, 19, 1002)),
    )
    assert list(made.values) == [b"one", None, b""]
    assert list(made.keys) == [b"k", None, b""]
    assert made.partitions.tolist() == [3, 4, 4]
    assert made.offsets.tolist() == [17, 18, 19]
    assert made.timestamps_ms.tolist() == [1000, 1001, 1002]
    assert dict(made.headers) == {0: headers}
    assert (made.bytes, made.left, made.isolation, made.retried) == (3, 3, Isolation.NONE, False)


class Unreadable(Message):
    """A message one of whose headers' names is not UTF-8, as confluent_kafka answers it."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        raise SystemError("returned a result with an exception set")


def test_headers_that_the_client_cannot_read_make_their_job_invalid_and_nobody_elses() -> None:
    value = encode_job({"x": np.zeros((1, 4), np.float32)})
    made = from_messages(
        "f.jobs",
        messages(Message(value, b"a", headers_=[("ce_id", b"own")]), Unreadable(value, b"b", 1, 2, 3), Message(value, b"c")),
    )
    decoded = JobDecoder().decode(Records.of(list(made.values), keys=made.keys, headers=made.headers), 0)
    assert [decoded.ids[0], decoded.ids[2]] == [b"own", b"c"]
    ((index, error),) = decoded.errors
    assert (index, error.code) == (1, ErrorCode.INVALID_JOB)
    assert error.message == "header names must be UTF-8, and one of this record's is not"
    assert decoded.ids[1].startswith(b"~")


def test_answers_count_once() -> None:
    made = a_delivery([b""] * 4)
    assert made.answer(np.array([1, 3])).tolist() == [1, 3]
    assert made.answer(np.array([0, 1])).tolist() == [0], "an engine that died may have said 1 already"
    assert made.left == 1
    assert made.unanswered().tolist() == [2]


def test_a_part_stands_on_the_same_entries() -> None:
    headers: list[tuple[str, bytes | None]] = [("h", b"")]
    made = a_delivery([b"a", b"b", None, b"d"], partitions=[0, 0, 1, 1], offsets=[5, 6, 9, 10], headers={3: headers})
    made.entries = [Entry(("f.jobs", 0), 7, 2), Entry(("f.jobs", 1), 11, 2)]
    made.which = np.array([0, 0, 1, 1], np.int32)
    part = made.part([1, 3], Isolation.SOLO)
    assert list(part.values) == [b"b", b"d"]
    assert list(part.keys) == [b"k1", b"k3"]
    assert part.offsets.tolist() == [6, 10]
    assert dict(part.headers) == {1: headers}
    assert [part.entry(i) is entry for i, entry in enumerate(made.entries)] == [True, True]
    assert (part.isolation, part.left) == (Isolation.SOLO, 2)
    last = part.part([1])
    assert last.isolation == Isolation.SOLO
    assert last.entry(0) is made.entries[1]
    assert dict(last.headers) == {0: headers}


@given(st.lists(st.integers(0, 3), min_size=1))
def test_runs_are_the_stretches_of_one_partition(partitions: list[int]) -> None:
    found = runs(np.array(partitions, np.int32))
    assert [i for begin, end in found for i in range(begin, end)] == list(range(len(partitions)))
    assert all(len(set(partitions[begin:end])) == 1 for begin, end in found)
    assert all(partitions[end - 1] != partitions[end] for _, end in found[:-1])


@given(
    sizes=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50)), min_size=1, max_size=40),
    most=st.integers(1, 120),
    one_topic=st.booleans(),
)
def test_cutting_loses_nothing_and_keeps_each_topics_order(sizes: list[tuple[str, int]], most: int, *, one_topic: bool) -> None:
    topics = ["a"] if one_topic else ["a", "b"]
    made = [
        Message(b"x" * size if size % 7 else None, offset_=i, topic_="a" if one_topic else topic)
        for i, (topic, size) in enumerate(sizes)
    ]
    deliveries = cut(messages(*made), topics, most)
    for topic in topics:
        own = [delivery for delivery in deliveries if delivery.topic == topic]
        assert [o for delivery in own for o in delivery.offsets.tolist()] == [m.offset_ for m in made if m.topic_ == topic]
    assert all(len(delivery) for delivery in deliveries)
    assert all(delivery.bytes <= most or sum(1 for v in delivery.values if v) == 1 for delivery in deliveries)
