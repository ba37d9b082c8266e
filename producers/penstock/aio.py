"""Owns the client for asyncio: the same core as :class:`penstock.Client`, awaited instead of blocked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Self, Unpack

from penstock.base import ClientBase
from penstock.encoding import Inputs, named
from penstock.errors import DeliveryFailed
from penstock.handle import Handle
from penstock.window import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

    from penstock.core import MapOptions, SubmitOptions
    from penstock.encoding import Tensor
    from penstock.waiting import Found
    from penstock_schemas.outcomes import Outcome


class _Box:
    """What watcher threads found, for one task to await. One wake-up of the loop serves all that arrived before it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[str, Found]] = deque()
        self._arrived = asyncio.Event()
        self._woken = False

    def put(self, job_id: str, found: Found) -> None:
        """From any thread."""
        self._items.append((job_id, found))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:  # the loop is closed, and whoever waited on it is gone
                return

    def get_nowait(self) -> tuple[str, Found] | None:
        return self._items.popleft() if self._items else None

    async def get(self, timeout: float | None, job: Handle) -> tuple[str, Found]:  # noqa: ASYNC109 - its callers' own
        """What comes next, for ``job`` or another. Raises ResultTimeout, for ``job``."""
        while True:
            # In this order: what is put after the look at `_items` sets the event again.
            self._arrived.clear()
            self._woken = False
            item = self.get_nowait()
            if item is not None:
                return item
            try:
                await asyncio.wait_for(self._arrived.wait(), timeout)
            except TimeoutError:
                raise job.timed_out(timeout or 0.0) from None


class AsyncJob(Handle):
    """A submitted job. As :class:`penstock.Job`, awaited."""

    __slots__ = ()

    async def result(self, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109 - as Job.result
        """As :meth:`penstock.Job.result`."""
        if not self.known:
            box = _Box()
            with self.watched(box.put):
                self.learn((await box.get(timeout, self))[1])
        return self.succeeded()

    async def poll(self) -> Outcome | None:
        """As :meth:`penstock.Job.poll`."""
        return self.outcome() if self.known else await asyncio.to_thread(self.look)


class AsyncClient(ClientBase):
    """Submits jobs to a fleet and reads their outcomes. Arguments as :class:`penstock.Client`."""

    async def submit(self, model: str | None, inputs: Inputs, **options: Unpack[SubmitOptions]) -> AsyncJob:
        """As :meth:`penstock.Client.submit`; waits, while the local queue is full, without blocking the loop."""
        era = self._core.era
        job = self._core.prepare(model, inputs, options)
        if not self._core.try_publish(job):
            for pause in self._core.full_pauses():
                await asyncio.sleep(pause)
                self._core.guard()
                if self._core.try_publish(job):
                    break
            else:
                raise self._core.queue_full()
        return AsyncJob(self._core, job.id, era)

    async def result(self, job_id: str, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109 - as Client.result
        """As :meth:`penstock.Client.result`."""
        return await AsyncJob(self._core, job_id, None).result(timeout)

    async def poll(self, job_id: str) -> Outcome | None:
        """As :meth:`penstock.Client.poll`."""
        return await AsyncJob(self._core, job_id, None).poll()

    async def map(
        self,
        model: str | None,
        inputs: Iterable[Inputs | Tensor],
        *,
        input: str | None = None,  # noqa: A002 - as Client.map
        window: int = 1024,
        wait: float | None = None,
        raising: bool = True,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[Outcome]:
        """As :meth:`penstock.Client.map`."""
        jobs = (await self.submit(model, named(item, input, options), **options) for item in inputs)
        async for job in self._results(jobs, window, wait, in_order=True):
            yield job.succeeded() if raising else job.outcome()

    async def as_completed(
        self, jobs: Iterable[AsyncJob] | AsyncIterable[AsyncJob], *, window: int = 1024, wait: float | None = None
    ) -> AsyncIterator[AsyncJob]:
        """As :meth:`penstock.Client.as_completed`."""
        async for job in self._results(_each(jobs), window, wait, in_order=False):
            yield job

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as Client.flush
        """As :meth:`penstock.Client.flush`."""
        await asyncio.to_thread(self._core.flush, self._flush_timeout if timeout is None else timeout)

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as Client.close
        """As :meth:`penstock.Client.close`."""
        await asyncio.to_thread(self._core.close, self._flush_timeout if timeout is None else timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except DeliveryFailed:
            if error is None:
                raise

    async def _results(
        self, jobs: AsyncIterator[AsyncJob], size: int, wait: float | None, *, in_order: bool
    ) -> AsyncIterator[AsyncJob]:
        """Jobs whose outcomes are known, read, waited for and handed out as `Window` says."""
        window: Window[AsyncJob] = Window(size, in_order=in_order)
        box = _Box()
        try:
            async for job in jobs:
                if window.add(job):
                    job.watch(box.put)
                while (item := box.get_nowait()) is not None:
                    window.arrive(*item)
                for ready in window.take():
                    yield ready
                while window.full:
                    window.arrive(*await box.get(wait, window.oldest))
                    for ready in window.take():
                        yield ready
            while window:
                window.arrive(*await box.get(wait, window.oldest))
                for ready in window.take():
                    yield ready
        finally:
            for job in window.jobs:
                job.forget(box.put)


async def _each(jobs: Iterable[AsyncJob] | AsyncIterable[AsyncJob]) -> AsyncIterator[AsyncJob]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
