"""Owns what Client and AsyncClient share: submitting without waiting, who waits for what, closing, and the fork guard."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from penstock.encoding import Encoder
from penstock.errors import (
    ClientClosed,
    ClientForked,
    FlushTimeout,
    InvalidJob,
    QueueFull,
    ResultsUnavailable,
)
from penstock.refusals import Refusals
from penstock.transports import Headers, SinkFull, SinkRefused, StoreRefused, StoreUnavailable
from penstock.waiting import Watcher
from penstock_schemas.ids import is_valid_id, new_id
from penstock_schemas.names import CLIENT_ID_PATTERN, QUEUE_PATTERN, Names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from penstock.encoding import Inputs
    from penstock.transports import JobSink, ResultStore
    from penstock.waiting import Notify

_FULL_PAUSE = 0.005
"""How long to leave a full local queue alone before the next try, in seconds: a few hundred records leave it in that time."""

_log = logging.getLogger("penstock")
_log.addHandler(logging.NullHandler())  # a library says nothing to who has not set logging up


class MapOptions(TypedDict, total=False):
    """What `map` accepts for each of its jobs."""

    version: str | int
    """The model's version; the latest if not given."""
    signature: str
    """The model's signature; its default one if not given."""
    outputs: Sequence[str]
    """The outputs wanted; all if not given."""
    timeout: float
    """Seconds, from the moment Kafka takes the job, after which it expires instead of being run."""
    headers: Mapping[str, str | bytes]
    """Kafka headers (``traceparent``, say). Each costs the fleet about a microsecond."""
    queue: str
    """The queue to submit to, ``<fleet>.jobs.<queue>``."""
    encoding: Literal["binary", "json"]
    """How tensors travel, both ways: raw (the default), or as JSON for people to read."""


class SubmitOptions(MapOptions, total=False):
    """What `submit` accepts beside the model and its inputs."""

    id: str
    """The job's id, 1 to 128 of ``A-Z a-z 0-9 . _ : ~ -``, not beginning with ``~``; generated if not given."""


@dataclass(slots=True)  # not frozen: that would cost a third of a microsecond a job
class Prepared:
    """A job that is ready to be sent."""

    id: str
    topic: str
    value: bytes
    headers: Headers | None


class Core:
    """One client's state. Methods may be called from any thread of the process that made it."""

    def __init__(self, sink: JobSink, store: ResultStore | None, *, fleet: str, client_id: str, queue_timeout: float) -> None:
        if not CLIENT_ID_PATTERN.fullmatch(client_id):
            raise ValueError(f"client_id {client_id!r} is not allowed: 1 to 64 of A-Z, a-z, 0-9, _ and -")
        self.client_id = client_id
        self.queue_timeout = queue_timeout
        self._names = Names(fleet)
        self._topics = {"": self._names.jobs()}
        self._sink = sink
        self._store = store
        self._encoder = Encoder(reply_to=client_id if store is not None else None)
        self._refusals = Refusals()
        self._watcher = (
            Watcher(store, key_prefix=self._names.result_prefix, channel=self._names.wake_channel(client_id)) if store else None
        )
        self._pid = os.getpid()
        self._closed = False
        self._closing = threading.Lock()
        sink.start(self._refused)

    def guard(self) -> None:
        """Raise ClientForked or ClientClosed; before any lock, which may have been held at the moment of the fork."""
        if os.getpid() != self._pid:
            raise ClientForked(self._pid, os.getpid())
        if self._closed:
            raise ClientClosed

    # Sending

    def prepare(self, model: str | None, inputs: Inputs, options: SubmitOptions) -> Prepared:
        """Encode a job. Raises InvalidJob."""
        self.guard()
        job_id = options.get("id")
        if job_id is None:
            job_id = new_id()
        elif not is_valid_id(job_id):
            raise InvalidJob(f"id {job_id!r} is not allowed: 1 to 128 of A-Z, a-z, 0-9 and . _ : ~ -, not beginning with ~")
        headers = options.get("headers")
        return Prepared(
            job_id,
            self._topic(options.get("queue", "")),
            self._encoder.encode(model, inputs, options),
            None
            if not headers
            else [(name, text.encode() if isinstance(text, str) else text) for name, text in headers.items()],
        )

    def try_publish(self, job: Prepared) -> bool:
        """Queue a job without waiting; False where the local queue is full. Raises InvalidJob where it can never be sent."""
        self._refusals.submitted_again(job.id)
        try:
            self._sink.publish(job.topic, job.id, job.value, job.headers)
        except SinkFull:
            return False
        except SinkRefused as error:
            raise InvalidJob(f"job {job.id} cannot be sent: {error}") from error
        return True

    def publish(self, job: Prepared) -> None:
        """Queue a job, waiting up to `queue_timeout` seconds while the local queue is full. Raises QueueFull."""
        if self.try_publish(job):
            return
        for pause in self.full_pauses():
            time.sleep(pause)
            self.guard()
            if self.try_publish(job):
                return
        raise self.queue_full()

    def full_pauses(self) -> Iterator[float]:
        """The pauses to make while the local queue is full, in seconds, up to `queue_timeout` in all."""
        end = time.monotonic() + self.queue_timeout
        while (left := end - time.monotonic()) > 0:
            yield min(_FULL_PAUSE, left)

    def queue_full(self) -> QueueFull:
        return QueueFull(
            f"the local queue was full for {self.queue_timeout:g} s: Kafka takes jobs more slowly than they are submitted, or "
            "not at all; nothing was sent of this one (queue_timeout sets how long submit may wait)"
        )

    def flush(self, timeout: float) -> None:
        """Wait until Kafka confirmed all jobs. Raises DeliveryFailed, or FlushTimeout."""
        self.guard()
        left = self._sink.flush(timeout)
        self._refusals.raise_untold()
        if left:
            raise FlushTimeout(left, timeout)

    # Results

    @property
    def era(self) -> int:
        """To be taken before a job is sent, and given to `watch`."""
        return self._watcher.era if self._watcher is not None else 0

    @property
    def trouble(self) -> str | None:
        return self._watcher.trouble.now if self._watcher is not None else None

    def watch(self, job_id: str, notify: Notify, *, era: int | None) -> None:
        """Call ``notify`` once, from any thread, when something came of the job. Raises ResultsUnavailable."""
        self.guard()
        if self._watcher is None:
            raise ResultsUnavailable("this client was given no redis_url: it can submit jobs, not read results")
        self._watcher.watch(job_id, notify, era=era)
        refused = self._refusals.find(job_id)
        if refused is not None:
            self._watcher.fail(job_id, refused)

    def forget(self, job_id: str, notify: Notify) -> None:
        if self._watcher is not None:
            self._watcher.forget(job_id, notify)

    def poll(self, job_id: str) -> bytes | None:
        """The outcome's bytes if it is there. Raises DeliveryFailed, ResultsUnavailable."""
        self.guard()
        refused = self._refusals.find(job_id)
        if refused is not None:
            raise refused
        if self._store is None:
            raise ResultsUnavailable("this client was given no redis_url: it can submit jobs, not read results")
        try:
            return self._store.get_many([self._names.result_key(job_id)])[0]
        except (StoreUnavailable, StoreRefused) as error:
            raise ResultsUnavailable(str(error)) from error

    # The end

    def close(self, timeout: float) -> None:
        """Send what is queued, end all waits, let go. Raises DeliveryFailed for jobs refused. In a forked child: nothing."""
        if os.getpid() != self._pid:
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._sink.close(timeout)
            if self._watcher is not None:
                self._watcher.close()
            if self._store is not None:
                self._store.close()
        self._refusals.raise_untold()

    def _topic(self, queue: str) -> str:
        topic = self._topics.get(queue)
        if topic is None:
            if not QUEUE_PATTERN.fullmatch(queue):
                raise InvalidJob(f"queue {queue!r} is not allowed: 1 to 32 of a-z, 0-9 and -")
            topic = self._topics[queue] = self._names.jobs(queue)
        return topic

    def _refused(self, job_id: str, reason: str) -> None:
        _log.warning("Kafka did not take job %s: %s", job_id, reason)
        self._refusals.add(job_id, reason)
        refused = self._refusals.find(job_id)
        if self._watcher is not None and refused is not None:
            self._watcher.fail(job_id, refused)
