"""Owns the client for threads: submit jobs, wait for their outcomes."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Self, Unpack

from penstock.base import ClientBase
from penstock.encoding import Inputs, named
from penstock.errors import DeliveryFailed
from penstock.handle import Handle
from penstock.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from penstock.core import MapOptions, SubmitOptions
    from penstock.encoding import Tensor
    from penstock.waiting import Found
    from penstock_schemas.outcomes import Outcome


class Job(Handle):
    """A submitted job. ``id`` is known at once, also to any other process that wants to read the result."""

    __slots__ = ()

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome: at most ``timeout`` seconds, or as long as it takes.

        Raises JobFailed, JobExpired, ResultTimeout, DeliveryFailed, ResultsUnavailable.
        """
        if not self.known:
            box: queue.SimpleQueue[tuple[str, Found]] = queue.SimpleQueue()
            with self.watched(lambda job_id, found: box.put((job_id, found))):
                self.learn(_next(box, timeout, self)[1])
        return self.succeeded()

    def poll(self) -> Outcome | None:
        """The outcome if it is there, whatever its `status`; None if not (yet). Does not wait and raises for no status.

        Raises DeliveryFailed, ResultsUnavailable.
        """
        return self.look()


class Client(ClientBase):
    """Submits jobs to a fleet and reads their outcomes. Threads may share one; a forked process needs its own.

    Args:
        bootstrap_servers: Kafka's brokers, ``HOST:PORT``, comma-separated.
        redis_url: where results are; without it this client only submits.
        fleet: the fleet's name.
        client_id: what the fleet calls this client when it tells of results, for this client alone; made up if not given.
        queue_timeout: seconds for which `submit` may wait while the local queue is full.
        delivery_timeout: seconds within which Kafka must have confirmed a job; after them it counts as refused.
        redis_timeout: the longest one call to Redis may take, in seconds; waiting for a result rides out more.
        max_job_bytes: the largest job, as the fleet's ``topics.max_job_bytes``.
        kafka_properties: further librdkafka properties (``security.protocol`` and the like).

    Connects when first used. Raises ValueError for arguments that cannot be.
    """

    def submit(self, model: str | None, inputs: Inputs, **options: Unpack[SubmitOptions]) -> Job:
        """Queue a job for Kafka and return. See :class:`~penstock.core.SubmitOptions` for the options.

        Args:
            model: the model's name; None where the fleet serves one model only.
            inputs: by name, what numpy makes an array of: shape (rows, …), dtype as the model's input (a float64 array is sent
                as FP64; nothing is cast). Text and bytes become BYTES.

        Raises InvalidJob, and QueueFull when the local queue was full for `queue_timeout` seconds.
        """
        era = self._core.era
        job = self._core.prepare(model, inputs, options)
        self._core.publish(job)
        return Job(self._core, job.id, era)

    def result(self, job_id: str, timeout: float | None = None) -> Outcome:
        """Wait for the outcome of any job, whoever submitted it. As :meth:`Job.result`."""
        return Job(self._core, job_id, None).result(timeout)

    def poll(self, job_id: str) -> Outcome | None:
        """The outcome of any job if it is there. As :meth:`Job.poll`."""
        return Job(self._core, job_id, None).poll()

    def map(
        self,
        model: str | None,
        inputs: Iterable[Inputs | Tensor],
        *,
        input: str | None = None,  # noqa: A002 - the word for it
        window: int = 1024,
        wait: float | None = None,
        raising: bool = True,
        **options: Unpack[MapOptions],
    ) -> Iterator[Outcome]:
        """Submit one job per item, as the iteration goes, and yield their outcomes in the items' order.

        Args:
            model: as in `submit`.
            inputs: one item a job: a mapping as for `submit`, or an array alone, which is one row (without the axis of rows) of
                the model's one input.
            input: the name of that input, for a model that takes several.
            window: the most jobs on their way, and so the most outcomes in memory.
            wait: the most seconds to wait for the next outcome.
            raising: whether a job without a result raises JobFailed or JobExpired; else its outcome is yielded as it is.
            options: as in `submit`, for each of the jobs.
        """
        jobs = (self.submit(model, named(item, input, options), **options) for item in inputs)
        for job in self._results(jobs, window, wait, in_order=True):
            yield job.succeeded() if raising else job.outcome()

    def as_completed(self, jobs: Iterable[Job], *, window: int = 1024, wait: float | None = None) -> Iterator[Job]:
        """Yield jobs as their outcomes arrive, ready for `result()`; those that Kafka refused, too: their `result()` raises.

        Args:
            jobs: read only so far ahead that ``window`` of them are waited for, so a generator may submit as it goes.
            window: the most jobs waited for at a time.
            wait: the most seconds to wait for the next one.
        """
        return self._results(jobs, window, wait, in_order=False)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until Kafka has confirmed every job submitted so far.

        Raises DeliveryFailed naming the jobs refused since the last flush, FlushTimeout after ``timeout`` seconds (by
        default, as long as any delivery may take).
        """
        self._core.flush(self._flush_timeout if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> None:
        """Wait up to ``timeout`` seconds for Kafka's confirmation, then let go. Idempotent.

        Raises DeliveryFailed naming the jobs that Kafka did not take, those that were left when time ran out among them.
        """
        self._core.close(self._flush_timeout if timeout is None else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except DeliveryFailed:
            if error is None:
                raise
            # What left the block is not to be hidden; each refused job was logged.

    def _results(self, jobs: Iterable[Job], size: int, wait: float | None, *, in_order: bool) -> Iterator[Job]:
        """Jobs whose outcomes are known, read, waited for and handed out as `Window` says."""
        window: Window[Job] = Window(size, in_order=in_order)
        box: queue.SimpleQueue[tuple[str, Found]] = queue.SimpleQueue()

        def notify(job_id: str, found: Found) -> None:
            box.put((job_id, found))

        try:
            for job in jobs:
                if window.add(job):
                    job.watch(notify)
                while not box.empty():
                    window.arrive(*box.get_nowait())
                yield from window.take()
                while window.full:
                    window.arrive(*_next(box, wait, window.oldest))
                    yield from window.take()
            while window:
                window.arrive(*_next(box, wait, window.oldest))
                yield from window.take()
        finally:
            for job in window.jobs:
                job.forget(notify)


def _next(box: queue.SimpleQueue[tuple[str, Found]], timeout: float | None, job: Handle) -> tuple[str, Found]:
    """What comes next, for ``job`` or another. Raises ResultTimeout, for ``job``."""
    try:
        return box.get(timeout=timeout)
    except queue.Empty:
        raise job.timed_out(timeout or 0.0) from None
