"""The CloudEvents SDK writes headers that we read, and reads headers that we write (Kafka binding, binary mode)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent

from penstock_schemas.headers import Header, build_job_headers, parse_job_headers, rfc3339
from penstock_schemas.jobs import JobDecoder, Records, encode_job

VALUE = encode_job({"x": np.ones((1, 2), np.float32)}, binary=False)
ATTRIBUTES: dict[str, Any] = {
    "id": "event-1",
    "source": "/tests",
    "type": "penstock.job",
    "specversion": "1.0",
    "time": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "subject": "digits",
    "datacontenttype": "application/octet-stream",
    "deadline": "2026-01-31T12:00:05Z",
    "replyto": "client_1",
}


def test_we_read_what_the_sdk_writes() -> None:
    message = kafka.to_binary_event(CloudEvent(ATTRIBUTES, VALUE))
    headers: list[Header] = list(message.headers.items())
    told = parse_job_headers(headers)
    assert told.error is None
    assert (told.id, told.subject, told.reply_to) == (b"event-1", "digits", "client_1")
    assert told.deadline_ms is not None
    assert rfc3339(told.deadline_ms) == "2026-01-31T12:00:05.000Z"
    decoded = JobDecoder().decode(Records.of([message.value], headers={0: headers}), now_ms=told.deadline_ms)
    assert decoded.ids == [b"event-1"]
    assert decoded.groups[0].request.model_name == "digits"
    assert decoded.groups[0].request.reply_to == "client_1"


def test_an_event_that_is_past_its_deadline_expires() -> None:
    message = kafka.to_binary_event(CloudEvent(ATTRIBUTES, VALUE))
    told = parse_job_headers(list(message.headers.items()))
    assert told.deadline_ms is not None
    records = Records.of([message.value], headers={0: list(message.headers.items())})
    assert JobDecoder().decode(records, now_ms=told.deadline_ms + 1).expired == [0]


def test_an_event_in_structured_mode_is_refused_with_the_way_out() -> None:
    message = kafka.to_structured_event(CloudEvent({**ATTRIBUTES, "datacontenttype": "application/json"}, {"inputs": []}))
    records = Records.of([message.value], headers={0: list(message.headers.items())})
    ((_, error),) = JobDecoder().decode(records, now_ms=0).errors
    assert "binary mode" in error.message


def test_the_sdk_reads_what_we_write() -> None:
    time_ms = 1_769_860_800_000
    headers = build_job_headers(
        job_id="a1", source="/me", time_ms=time_ms, model="digits", deadline_ms=time_ms + 5000, reply_to="c", content_length=3
    )
    event = kafka.from_binary_event(kafka.KafkaMessage(headers=dict(headers), key="a1", value=VALUE))
    assert event.get_id() == "a1"
    assert event.get_source() == "/me"
    assert event.get_type() == "penstock.job"
    assert event.get_subject() == "digits"
    assert event.get_time() == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert event.get_extension("deadline") == "2026-01-31T12:00:05.000Z"
    assert event.get_extension("replyto") == "c"
    assert event.get_data() == VALUE.decode()  # The SDK makes text of what can be text.
