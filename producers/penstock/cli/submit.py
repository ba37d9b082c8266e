"""Owns `penstock submit`: a job from a JSON request or from .npy files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import orjson
import typer

from penstock.cli.common import Flags, note, read_settings
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.result import print_outcome
from penstock.client import Client
from penstock.core import SubmitOptions
from penstock.transports import SinkRefused
from penstock.transports.kafka import KafkaSink
from penstock.transports.redis import RedisStore
from penstock_schemas.ids import is_valid_id, new_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_schemas.settings import Settings

_DELIVERY_TIMEOUT: Final = 10.0
"""How long Kafka may take to confirm the job, in seconds; after that it counts as not to be reached."""


def submit_job(flags: Flags, model: str, files: list[str], *, job_id: str | None, wait: float | None, as_json: bool) -> None:
    """Submit, print the id, and print the outcome where ``wait`` says so. Raises CommandError, and the client's errors."""
    if job_id is not None:
        _check_id(job_id)
    arrays = None if _is_request(files) else read_arrays(files)
    request = read_request(files[0], model, job_id) if arrays is None else None
    settings = read_settings(flags)
    sink = _sink(settings)
    store = RedisStore(settings.redis.url, timeout=settings.redis.timeout)
    with Client.over(sink, store, fleet=settings.fleet, flush_timeout=_DELIVERY_TIMEOUT) as client:
        if request is not None:
            job_id, value = request
            try:
                sink.publish(settings.names.jobs(), job_id, value)
            except SinkRefused as error:
                raise CommandError(ExitCode.WRONG_USE, f"the job cannot be sent: {error}") from error
        else:
            options = SubmitOptions(id=job_id) if job_id is not None else SubmitOptions()
            job_id = client.submit(model, arrays or {}, **options).id
        client.flush(_DELIVERY_TIMEOUT)
        if wait is None:
            typer.echo(job_id)
            return
        note(f"job {job_id} is in {settings.names.jobs()}")
        print_outcome(client, job_id, settings, wait=wait, as_json=as_json)


def read_request(file: str, model: str, job_id: str | None) -> tuple[str, bytes]:
    """The id and record of a JSON request, with ``model`` and an id in it. Raises CommandError where it is none."""
    text = sys.stdin.buffer.read() if file == "-" else _read(Path(file))
    name = "stdin" if file == "-" else file
    try:
        parsed: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CommandError(ExitCode.WRONG_USE, f"{name} is no JSON: {error}") from error
    if not isinstance(parsed, dict) or "inputs" not in parsed:
        raise CommandError(ExitCode.WRONG_USE, f'{name} is no inference request: it must be {{"inputs": [{{"name": …}}]}}')
    request = cast("dict[str, Any]", parsed)
    named = request.get("model_name", model)
    if named != model:
        raise CommandError(ExitCode.WRONG_USE, f"{name} is for model {named!r}, the command line says {model!r}")
    chosen = job_id if job_id is not None else request.get("id", new_id())
    _check_id(chosen)
    request.update(id=chosen, model_name=model)
    return chosen, orjson.dumps(request)


def read_arrays(files: list[str]) -> dict[str, NDArray[np.generic]]:
    """The inputs from ``INPUT=FILE.npy`` (or ``INPUT.npy``) arguments. Raises CommandError."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for text in files:
        name, equals, path = text.partition("=")
        file = Path(path if equals else text)
        try:
            # No pickles: a file from elsewhere must not run code here.
            array: Any = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CommandError(ExitCode.WRONG_USE, f"{file} is no .npy file that can be read: {error}") from error
        if not isinstance(array, np.ndarray):
            raise CommandError(ExitCode.WRONG_USE, f"{file} holds several arrays: save each with numpy.save")
        arrays[name if equals else file.stem] = array
    return arrays


def _is_request(files: list[str]) -> bool:
    """Whether it is one JSON request, not arrays."""
    return len(files) == 1 and not files[0].endswith(".npy")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(ExitCode.WRONG_USE, f"{path} cannot be read: {error.strerror}") from error


def _check_id(job_id: object) -> None:
    if not isinstance(job_id, str) or not is_valid_id(job_id):
        allowed = "1 to 128 of A-Z, a-z, 0-9 and . _ : ~ -, not beginning with ~"
        raise CommandError(ExitCode.WRONG_USE, f"id {job_id!r} is not allowed: {allowed}")


def _sink(settings: Settings) -> KafkaSink:
    kafka, topics = settings.kafka, settings.topics
    properties = {"log_level": 0, **kafka.properties}  # what went wrong is told by our own message
    return KafkaSink(
        kafka.bootstrap_servers, properties=properties, max_job_bytes=topics.max_job_bytes, delivery_timeout=_DELIVERY_TIMEOUT
    )
