"""Owns `penstock result`, and how an outcome is shown."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
import typer

from penstock.cli.common import Flags, read_settings
from penstock.cli.exits import CommandError, ExitCode
from penstock.client import Client
from penstock.errors import JobExpired, JobFailed
from penstock.transports import Headers, SinkRefused
from penstock.transports.redis import RedisStore
from penstock_schemas.datatypes import datatype_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from penstock_schemas.outcomes import Outcome
    from penstock_schemas.settings import Settings

_SHOWN: Final = 16
"""How many elements of an output are shown to a person."""


class _NoSink:
    """A sink for a client that only reads: no connection to Kafka is made."""

    def start(self, on_refused: Callable[[str, str], None]) -> None:
        pass

    def publish(self, topic: str, key: str, value: bytes, headers: Headers | None = None) -> None:
        del topic, key, value, headers
        raise SinkRefused("this client only reads results")

    def flush(self, timeout: float) -> int:
        del timeout
        return 0

    def close(self, timeout: float) -> None:
        pass


def show_result(flags: Flags, job_id: str, *, wait: float | None, as_json: bool) -> None:
    """Print a job's outcome. Raises CommandError: 3 where there is none (yet), 1 where the job failed or expired."""
    settings = read_settings(flags)
    with Client.over(_NoSink(), RedisStore(settings.redis.url, timeout=settings.redis.timeout), fleet=settings.fleet) as client:
        print_outcome(client, job_id, settings, wait=wait, as_json=as_json)


def print_outcome(client: Client, job_id: str, settings: Settings, *, wait: float | None, as_json: bool) -> None:
    """Wait for the outcome up to ``wait`` seconds (None: look once), and print it. Raises as `show_result`."""
    outcome = client.poll(job_id)  # looks once, and says so at once where Redis is not there
    if outcome is None and wait:
        outcome = _waited(client, job_id, wait)
    if outcome is None:
        key = settings.names.result_key(job_id)
        message = f"there is no outcome of job {job_id} (yet) under {key}; a job never submitted looks the same"
        raise CommandError(ExitCode.NOT_THERE, message)
    typer.echo(orjson.dumps(outcome_document(outcome)).decode() if as_json else "\n".join(outcome_lines(outcome)))
    if outcome.status != "succeeded":
        raise CommandError(ExitCode.JOB_FAILED, f"job {job_id} {outcome.status}")


def _waited(client: Client, job_id: str, wait: float) -> Outcome:
    try:
        return client.result(job_id, timeout=wait)
    except (JobFailed, JobExpired) as error:
        return error.outcome


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON would say it: like its record's first line, with every tensor's data inline."""
    document: dict[str, Any] = {
        "id": outcome.id,
        "status": str(outcome.status),
        "generation": outcome.generation,
        "attempts": outcome.attempts,
        "origin": outcome.origin,
        "model_name": outcome.model_name,
        "model_version": outcome.model_version,
        "timings": dataclasses.asdict(outcome.timings) if outcome.timings is not None else None,
    }
    if outcome.status == "succeeded":
        document["outputs"] = [_tensor_document(name, array) for name, array in outcome.outputs.items()]
    else:
        document["error_code"] = None if outcome.error_code is None else str(outcome.error_code)
        document["error"] = outcome.error
    return document


def outcome_lines(outcome: Outcome) -> Sequence[str]:
    """The outcome for a person."""
    tries = "1 attempt" if outcome.attempts == 1 else f"{outcome.attempts} attempts"
    served = " ".join(part for part in (outcome.model_name, outcome.model_version) if part) or "no model"
    again = f"generation {outcome.generation}, " if outcome.generation else ""
    lines = [f"{outcome.id}  {outcome.status}  ({served}, {again}{tries}, from {outcome.origin})"]
    if outcome.error is not None:
        lines.append(f"  {outcome.error_code}: {outcome.error}")
    for name, array in outcome.outputs.items():
        datatype = datatype_of(array.dtype)
        values = ", ".join(_short(value) for value in array.reshape(-1)[:_SHOWN])
        more = ", …" if array.size > _SHOWN else ""
        lines.append(f"  {name}  {datatype.name if datatype else array.dtype} {list(array.shape)}  {values}{more}")
    if outcome.timings is not None:
        timings = dataclasses.asdict(outcome.timings)
        lines.append("  " + ", ".join(f"{key.removesuffix('_us')} {_timing(key, value)}" for key, value in timings.items()))
    return lines


def _timing(key: str, value: int) -> str:
    return f"{value / 1000:.3f} ms" if key.endswith("_us") else str(value)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value[:40]) if len(value) <= 40 else f"{value[:40]!r}…"
    return f"{value:.6g}" if hasattr(value, "dtype") and value.dtype.kind == "f" else str(value)


def _tensor_document(name: str, array: NDArray[np.generic]) -> dict[str, Any]:
    datatype = datatype_of(array.dtype)
    document: dict[str, Any] = {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype.name if datatype else str(array.dtype),
    }
    values: list[Any] = array.reshape(-1).tolist()
    if array.dtype == object:
        try:
            values = [value.decode() for value in values]
        except UnicodeDecodeError:
            document["parameters"] = {"content_type": "base64"}
            values = [base64.b64encode(value).decode() for value in values]
    document["data"] = values
    return document
