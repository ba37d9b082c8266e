"""Owns the contract's machine-readable form: JSON Schemas of a job and an outcome, and the AsyncAPI 3 document.

All of it is made from the code's own tables. ``python -m penstock_schemas.documents docs/schemas`` writes the files; a
test fails where they have drifted from the code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from penstock_schemas import CONTRACT_VERSION
from penstock_schemas.datatypes import DATATYPES
from penstock_schemas.dead import LETTER_HEADERS
from penstock_schemas.errors import ErrorCode
from penstock_schemas.ids import ID_REGEX
from penstock_schemas.names import CLIENT_ID_PATTERN, DEFAULT_TIERS, FLEET_PATTERN, tier_seconds
from penstock_schemas.outcomes import STATUSES
from penstock_schemas.requests import MAX_MODEL_NAME, MAX_NAME, MAX_TIMEOUT_US
from penstock_schemas.retries import RETRY_HEADERS

Document = dict[str, Any]

_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-07"
_JSON: Final = "application/json"


def job_schema() -> Document:
    """JSON Schema of a job's JSON: the whole value, or the line in front of the raw tensors."""
    return {
        "$schema": _DIALECT,
        "title": "Penstock job",
        "description": "An Open Inference Protocol v2 inference request: a record value, or its JSON where raw tensors follow.",
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _or_null(_id_schema("The job id, unless a header gives one; the record key where neither does.")),
            "model_name": _or_null(_text("The model; may be left out where the fleet serves one.", MAX_MODEL_NAME)),
            "model_version": _or_null(_text("The model's version; the latest if left out.", MAX_MODEL_NAME)),
            "inputs": {"type": "array", "minItems": 1, "items": _input()},
            "outputs": _or_null(
                {"type": "array", "items": _requested_output(), "description": "Outputs wanted; all if left out."}
            ),
            "parameters": _or_null(_job_parameters()),
        },
    }


def outcome_schema() -> Document:
    """JSON Schema of an outcome's first line."""
    count = {"type": "integer", "minimum": 0}
    return {
        "$schema": _DIALECT,
        "title": "Penstock outcome",
        "description": "What came of a job: an Open Inference Protocol v2 response and how it went. Raw tensors may follow.",
        "type": "object",
        "required": ["contract", "generation", "id", "status", "attempts", "origin"],
        "properties": {
            "contract": {"const": CONTRACT_VERSION},
            "generation": {**count, "description": "0, and one more for each redrive of the job."},
            "reply_to": {"type": "string", "pattern": f"^{CLIENT_ID_PATTERN.pattern}$"},
            "id": {"type": "string", "pattern": r"^~?[A-Za-z0-9._:~-]{1,128}$", "description": "Begins with ~ where derived."},
            "status": {"enum": list(STATUSES)},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "attempts": {"type": "integer", "minimum": 1},
            "origin": {"type": "string", "pattern": r"^.+-\d+-\d+$", "description": "Topic, partition and offset of the job."},
            "timings": {
                "type": "object",
                "description": "Microseconds by the worker's clock, and the rows of the batch.",
                "properties": dict.fromkeys(
                    ("queue_us", "decode_us", "batch_wait_us", "infer_us", "encode_us", "batch_rows"), count
                ),
            },
            "error_code": {"enum": [code.value for code in ErrorCode]},
            "error": {"type": "string", "description": "What was wrong, where, and what would be right."},
            "outputs": {"type": "array", "items": _tensor("An output.")},
            "parameters": {"type": "object"},
        },
        "if": {"properties": {"status": {"const": "succeeded"}}},
        "then": {"required": ["outputs", "timings", "model_name", "model_version"]},
        "else": {"required": ["error_code", "error"]},
    }


def asyncapi_document() -> Document:
    """The AsyncAPI 3 document, seen from the fleet: it receives jobs and sends outcomes."""
    retries = {
        f"retry-{tier}": _channel(
            f"{{fleet}}.retry.{tier}", "job", f"Jobs that wait {tier_seconds(tier):g} s before they are tried again."
        )
        for tier in DEFAULT_TIERS
    }
    queue = {"description": "A further jobs topic, so that slow models do not hold up fast ones."}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Penstock",
            "version": CONTRACT_VERSION,
            "description": "An asynchronous prediction fleet: jobs in through Kafka, outcomes out to Kafka and Redis.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "channels": {
            "jobs": _channel("{fleet}.jobs", "job", "Jobs for the fleet."),
            "jobs-queue": _channel("{fleet}.jobs.{queue}", "job", "Jobs of a named queue.", queue=queue),
            "outcomes": _channel("{fleet}.outcomes", "outcome", "The first record of an id and generation is the outcome."),
            **retries,
            "dead": _channel("{fleet}.dead", "letter", "Failed jobs, kept for people."),
        },
        "operations": {
            "receiveJob": _operation("receive", "jobs", "Publish a job here."),
            "receiveQueuedJob": _operation("receive", "jobs-queue", "Publish a job for a queue here."),
            "sendOutcome": _operation("send", "outcomes", "Every job has one outcome."),
            "sendLetter": _operation("send", "dead", "A failed job's own bytes, before its outcome."),
        },
        "components": {
            "messages": {
                "job": _message("job", "A job", job_schema(), _job_headers()),
                "outcome": _message("outcome", "An outcome", outcome_schema(), None),
                "letter": _message("letter", "A dead letter: the job's bytes, untouched", None, _letter_headers()),
            },
        },
    }


def documents() -> dict[str, Document]:
    """Every document by its file name."""
    return {
        "job.schema.json": job_schema(),
        "outcome.schema.json": outcome_schema(),
        "asyncapi.json": asyncapi_document(),
    }


def render(document: Document) -> str:
    """A document as its file holds it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write all documents into the folder that is the one argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m penstock_schemas.documents FOLDER\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_text(render(document), encoding="utf-8")
    return 0


def _or_null(schema: Document) -> Document:
    """JSON's null counts as left out."""
    return {"anyOf": [schema, {"type": "null"}]}


def _text(description: str, longest: int) -> Document:
    return {"type": "string", "maxLength": longest, "description": description}


def _id_schema(description: str) -> Document:
    return {"type": "string", "pattern": f"^{ID_REGEX}$", "description": description}


def _input() -> Document:
    """A tensor whose name may be left out: it is then the model's one input."""
    tensor = _tensor("An input, rows along the first dimension. Without a name: the model's one input.")
    tensor["required"] = ["shape", "datatype"]
    tensor["properties"]["name"] = {"type": "string", "maxLength": MAX_NAME}
    return tensor


def _tensor(description: str) -> Document:
    values = {"description": "The elements, row-major, flat or nested; left out where binary_data_size is given."}
    parameters = {
        "binary_data_size": {"type": "integer", "minimum": 0, "description": "Bytes of this tensor after the JSON."},
        "content_type": {"type": "string", "description": "base64: the strings of a BYTES tensor are base64."},
    }
    return {
        "type": "object",
        "description": description,
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": list(DATATYPES)},
            "data": values,
            "parameters": {"type": "object", "properties": parameters},
        },
        "anyOf": [
            {"required": ["data"]},
            {"required": ["parameters"], "properties": {"parameters": {"required": ["binary_data_size"]}}},
        ],
    }


def _requested_output() -> Document:
    parameters = {
        "binary_data": {"type": "boolean", "description": "Raw after the JSON; as binary_data_output if left out."},
        "content_type": {"const": "base64", "description": "BYTES as base64 in JSON."},
    }
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "parameters": {"type": "object", "properties": parameters}},
    }


def _job_parameters() -> Document:
    timeout = "Microseconds from the record's LogAppendTime until the job expires; 0: never."
    return {
        "type": "object",
        "properties": {
            "binary_data_output": {"type": "boolean", "description": "Outputs raw after the JSON, unless one says otherwise."},
            "timeout": {"type": "integer", "minimum": 0, "maximum": MAX_TIMEOUT_US, "description": timeout},
            "reply_to": {"type": "string", "pattern": f"^{CLIENT_ID_PATTERN.pattern}$", "description": "The client to wake."},
            "signature_name": _text("The model's signature; its default if left out.", MAX_NAME),
        },
    }


def _job_headers() -> Document:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "All optional; names in any case. CloudEvents' Kafka binding, binary mode.",
        "properties": {
            "ce_id": _id_schema("The job id."),
            "ce_type": text,
            "ce_source": text,
            "ce_specversion": text,
            "ce_time": text,
            "ce_subject": {"type": "string", "description": "The model, where the value names none."},
            "ce_deadline": {"type": "string", "format": "date-time", "description": "Expires then, whatever timeout says."},
            "ce_replyto": {"type": "string", "pattern": f"^{CLIENT_ID_PATTERN.pattern}$"},
            "content-type": text,
            "Inference-Header-Content-Length": {
                "type": "string",
                "pattern": r"^\d{1,10}$",
                "description": "Length of the JSON.",
            },
            "traceparent": text,
            "tracestate": text,
            "penstock-id": {"type": "string", "description": "The job id, in retries and redrives; perhaps a derived one."},
            "penstock-generation": {"type": "string", "pattern": r"^\d{1,10}$"},
            "penstock-attempt": {"type": "string", "pattern": r"^\d{1,10}$"},
            **dict.fromkeys(sorted(RETRY_HEADERS), text),
        },
    }


def _letter_headers() -> Document:
    return {
        "type": "object",
        "description": "Before the job's own headers. digest and size: of a body too large to keep. gap: offsets nobody read.",
        "required": ["penstock-time"],
        "properties": {name: {"type": "string"} for name in sorted(LETTER_HEADERS)},
    }


def _channel(address: str, message: str, description: str, **parameters: Document) -> Document:
    fleet = {"default": "penstock", "description": f"The fleet's name, {FLEET_PATTERN.pattern}."}
    return {
        "address": address,
        "description": description,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "parameters": {"fleet": fleet, **parameters},
    }


def _operation(action: str, channel: str, summary: str) -> Document:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(name: str, title: str, payload: Document | None, headers: Document | None) -> Document:
    key = _id_schema("The job id.") if name != "outcome" else {"type": "string", "description": "The job id."}
    message: Document = {"name": name, "title": title, "contentType": _JSON, "bindings": {"kafka": {"key": key}}}
    if payload is not None:
        message["payload"] = {"schemaFormat": _SCHEMA_FORMAT, "schema": payload}
    if headers is not None:
        message["headers"] = headers
    return message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
