"""The asyncio client does as the other does, without blocking the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from penstock import (
    AsyncClient,
    ClientClosed,
    DeliveryFailed,
    InvalidJob,
    JobExpired,
    JobFailed,
    QueueFull,
    ResultTimeout,
)
from penstock.transports.memory import MemorySink, MemoryStore

if TYPE_CHECKING:
    from penstock.testing import FakeFleet


def moody(inputs: dict[str, Any]) -> dict[str, Any]:
    if inputs["x"][0] < 0:
        raise ValueError("below zero")
    return {"y": inputs["x"] * 2}


@pytest.fixture
def fleet(fake_fleet: FakeFleet) -> FakeFleet:
    fake_fleet.serve("m", moody)
    return fake_fleet


def test_a_job_goes_round(fleet: FakeFleet) -> None:
    async def main() -> None:
        async with fleet.async_client() as client:
            job = await client.submit("m", {"x": [1.5]}, id="a1")
            assert (await job.result(timeout=10))["y"][0] == 3.0
            assert (await client.result("a1", timeout=10)).id == "a1"
            polled = await client.poll("a1")
            assert polled is not None
            assert await client.poll("never-submitted") is None
            await client.flush()

    asyncio.run(main())


def test_errors_are_those_of_the_other_client(fleet: FakeFleet) -> None:
    async def main() -> None:
        async with fleet.async_client() as client:
            with pytest.raises(JobFailed, match="below zero"):
                await (await client.submit("m", {"x": [-1.0]})).result(10)
            with fleet.paused():
                job = await client.submit("m", {"x": [1.0]}, timeout=1)
                assert await job.poll() is None
                with pytest.raises(ResultTimeout):
                    await job.result(0.01)
                fleet.advance(2)
            with pytest.raises(JobExpired):
                await job.result(10)
            with fleet.refusing():
                lost = await client.submit("m", {"x": [1.0]}, id="lost")
            with pytest.raises(DeliveryFailed, match="lost"):
                await lost.result(10)
            with pytest.raises(DeliveryFailed, match="lost"):
                await client.flush()
            with pytest.raises(InvalidJob):
                await client.submit("m", {})
        with pytest.raises(ClientClosed):
            await client.submit("m", {"x": [1.0]})

    asyncio.run(main())


def test_leaving_the_block_raises_for_refused_jobs(fleet: FakeFleet) -> None:
    async def main(error: Exception | None) -> None:
        async with fleet.async_client() as client:
            with fleet.refusing():
                await client.submit("m", {"x": [1.0]})
            if error is not None:
                raise error

    with pytest.raises(DeliveryFailed):
        asyncio.run(main(None))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(main(ZeroDivisionError()))


def test_a_thousand_tasks_wait_at_once(fleet: FakeFleet) -> None:
    async def one(client: AsyncClient, number: int) -> float:
        job = await client.submit("m", {"x": [float(number)]})
        return float((await job.result(60))["y"][0])

    async def main() -> list[float]:
        async with fleet.async_client() as client:
            return await asyncio.gather(*[one(client, number) for number in range(1000)])

    assert asyncio.run(main()) == [2.0 * number for number in range(1000)]


def test_map_and_as_completed(fleet: FakeFleet) -> None:
    async def main() -> None:
        async with fleet.async_client() as client:
            items = ({"x": np.array([number], np.float32)} for number in range(300))
            found = [float(outcome["y"][0]) async for outcome in client.map("m", items, window=7, wait=30)]
            assert found == [2.0 * number for number in range(300)]
            named = client.map("m", np.ones(3), input="x")
            assert [float(outcome["y"][0]) async for outcome in named] == [2.0] * 3
            with pytest.raises(JobFailed):
                _ = [outcome async for outcome in client.map("m", [{"x": [-1.0]}])]
            kept = [outcome.status async for outcome in client.map("m", [{"x": [-1.0]}, {"x": [1.0]}], raising=False)]
            assert kept == ["failed", "succeeded"]
            jobs = [await client.submit("m", {"x": [1.0]}) for _ in range(20)]
            assert {job.id async for job in client.as_completed(jobs, window=3)} == {job.id for job in jobs}
            lazily = (await client.submit("m", {"x": [1.0]}) for _ in range(20))
            assert len([job async for job in client.as_completed(lazily, window=3)]) == 20

    asyncio.run(main())


def test_a_cancelled_wait_leaves_nothing_behind(fleet: FakeFleet) -> None:
    async def main() -> None:
        async with fleet.async_client() as client:
            with fleet.paused():
                job = await client.submit("m", {"x": [1.0]})
                waiting = asyncio.create_task(job.result())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert client._core._watcher is not None
                assert not client._core._watcher._waiting
            assert (await job.result(10)).status == "succeeded"

    asyncio.run(main())


def test_an_outcome_that_comes_after_the_loop_is_closed_harms_nobody(fleet: FakeFleet) -> None:
    client = fleet.async_client()

    async def main() -> None:
        job = await client.submit("m", {"x": [1.0]})
        waiting = asyncio.create_task(job.result())
        await asyncio.sleep(0)
        del waiting

    with fleet.paused():
        asyncio.run(main())
    asyncio.run(client.close())


def test_a_full_queue_does_not_block_the_loop() -> None:
    sink = MemorySink(lambda _record: None, capacity=1)
    sink.pause()
    client = AsyncClient.over(sink, MemoryStore(), queue_timeout=0.05)

    async def main() -> None:
        await client.submit("m", {"x": [1.0]})
        with pytest.raises(QueueFull):
            await client.submit("m", {"x": [1.0]})
        client._core.queue_timeout = 60
        blocked = asyncio.create_task(client.submit("m", {"x": [1.0]}))
        await asyncio.sleep(0)
        assert not blocked.done()
        sink.resume()
        await blocked
        await client.close()

    asyncio.run(main())
