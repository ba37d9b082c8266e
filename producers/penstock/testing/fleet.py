"""Owns the in-memory fleet of callers' tests: no Kafka, no Redis, no TensorFlow, and yet the real bytes both ways."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from penstock.aio import AsyncClient
from penstock.client import Client
from penstock.testing.worker import Fail, FakeWorker, Model, ReceivedJob, Served
from penstock.transports.memory import MemorySink, MemoryStore, Record
from penstock_schemas.limits import Limits
from penstock_schemas.names import Names

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

__all__ = ["Fail", "FakeFleet", "ReceivedJob"]


class FakeFleet:
    """A fleet in memory. `submit` runs the job itself, in its caller's thread, so the outcome is there when it returns.

    Example::

        def test_my_service(fake_fleet):
            fake_fleet.serve("digits", lambda inputs: {"probabilities": inputs["image"].mean(axis=(1, 2))})
            with fake_fleet.client() as client:
                assert my_service(client) == ...
            assert fake_fleet.jobs[0].model == "digits"

    A function that raises fails its job (`Fail` sets code and message). To test trouble: `paused`, `refusing`,
    `results_unreachable`, `advance`.
    """

    def __init__(
        self, models: Mapping[str, Model] | None = None, *, fleet: str = "penstock", limits: Limits | None = None
    ) -> None:
        self.jobs: list[ReceivedJob] = []
        """The jobs that workers have taken so far, in order."""
        self._names = Names(fleet)
        self._worker = FakeWorker(limits or Limits())
        self._store = MemoryStore()
        self._lock = threading.RLock()
        self._log: deque[tuple[Record, int, int]] = deque()
        self._offset = 0
        self._ahead = 0.0
        self._paused = False
        self._refusing: str | None = None
        self._clients: list[Client] = []
        for name, function in (models or {}).items():
            self.serve(name, function)

    def serve(
        self,
        name: str,
        function: Model,
        *,
        version: str | int = 1,
        allow_non_finite: bool = False,
        input: str = "",  # noqa: A002 - the word for it
    ) -> None:
        """Serve a model: ``function`` is called once a job with its inputs by name, and answers outputs by name.

        ``input`` is the name of its one input, for jobs that send theirs without a name, as `map` does with arrays.
        """
        self._worker.serve(name, str(version), Served(function, allow_non_finite, input))

    def client(self, *, client_id: str | None = None, queue_timeout: float = 10.0) -> Client:
        """A client of this fleet. It is closed with the fleet, if not before."""
        client = Client.over(
            MemorySink(self._take), self._store, fleet=self._names.fleet, client_id=client_id, queue_timeout=queue_timeout
        )
        self._clients.append(client)
        return client

    def async_client(self, *, client_id: str | None = None, queue_timeout: float = 10.0) -> AsyncClient:
        """An asyncio client of this fleet; close it where it is used."""
        return AsyncClient.over(
            MemorySink(self._take), self._store, fleet=self._names.fleet, client_id=client_id, queue_timeout=queue_timeout
        )

    @contextlib.contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Within the block Kafka takes jobs and no worker does; they are run when the block is left."""
        self._paused = True
        try:
            yield
        finally:
            with self._lock:
                self._paused = False
                self._work()

    @contextlib.contextmanager
    def refusing(self, reason: str = "Broker: Not enough in-sync replicas") -> Generator[None, None, None]:
        """Within the block Kafka does not take the jobs that are submitted: DeliveryFailed, as the client tells of it."""
        self._refusing = reason
        try:
            yield
        finally:
            self._refusing = None

    @contextlib.contextmanager
    def results_unreachable(self) -> Generator[None, None, None]:
        """Within the block Redis is away."""
        self._store.available = False
        self._store.drop_subscriptions()
        try:
            yield
        finally:
            self._store.available = True

    def advance(self, seconds: float) -> None:
        """Let the fleet's clock jump: jobs whose `timeout` passes while they wait (`paused`) will expire."""
        self._ahead += seconds

    def forget_results(self) -> None:
        """Lose all results, as their time to live would have it."""
        self._store.clear()

    def close(self) -> None:
        """Close the clients made by `client`. Idempotent."""
        for client in self._clients:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def _take(self, record: Record) -> str | None:
        """What the broker does with a record: None when it took it, or why it does not."""
        if self._refusing is not None:
            return self._refusing
        with self._lock:
            self._log.append((record, self._offset, self._now_ms()))
            self._offset += 1
            if not self._paused:
                self._work()
        return None

    def _work(self) -> None:
        while self._log:
            (topic, key, value, headers), offset, appended_ms = self._log.popleft()
            answer = self._worker.answer(
                topic, key, value, headers or (), offset=offset, appended_ms=appended_ms, now_ms=self._now_ms()
            )
            self.jobs.append(answer.job)
            self._store.set_first(self._names.result_key(answer.job.id), answer.value)
            if answer.reply_to is not None:
                self._store.publish(self._names.wake_channel(answer.reply_to), answer.job.id.encode())

    def _now_ms(self) -> int:
        return int((time.time() + self._ahead) * 1000)
