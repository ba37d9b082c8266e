"""The clients against real Kafka and Redis, and against their absence."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import redis
from tests.integration.client.echo import EchoFleet
from tests.support import eventually

from penstock import AsyncClient, Client, DeliveryFailed, JobFailed, PenstockError, QueueFull, ResultsUnavailable, ResultTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import MakeTopics, RedisFactory, SettingsFactory

    from penstock_schemas.settings import Settings


@pytest.fixture
def fleet(settings: SettingsFactory, make_topics: MakeTopics) -> Settings:
    made = settings()
    make_topics(made)
    return made


@pytest.fixture
def client(fleet: Settings) -> Iterator[Client]:
    with Client(fleet.kafka.bootstrap_servers, fleet.redis.url, fleet=fleet.fleet) as client:
        yield client


def test_a_job_goes_round(fleet: Settings, client: Client) -> None:
    with EchoFleet(fleet):
        outcome = client.submit("double", {"x": np.array([[1.5]], np.float32)}).result(timeout=60)
        assert outcome["y"].tolist() == [[3.0]]
        with pytest.raises(JobFailed, match="nobody"):
            client.submit("nobody", {"x": [1.0]}).result(timeout=60)


def test_many_jobs_wait_on_few_connections(fleet: Settings, client: Client) -> None:
    with redis.Redis.from_url(fleet.redis.url) as administrator, EchoFleet(fleet) as echo:
        client.submit("double", {"x": [1.0]}).result(timeout=60)
        echo.pause()
        before = len(administrator.client_list())
        jobs = [client.submit("double", {"x": np.array([number], np.float32)}) for number in range(3000)]
        waiting = client.as_completed(jobs, window=3000, wait=60)
        threads = [threading.Thread(target=job.result, args=(60,)) for job in jobs[:50]]
        for thread in threads:
            thread.start()
        eventually(lambda: client._core._watcher and len(client._core._watcher._waiting) >= 50, "fifty threads wait")
        assert len(administrator.client_list()) <= before + 1
        echo.go_on()
        assert {job.id for job in waiting} == {job.id for job in jobs}
        assert [job.result(60)["y"][0] for job in jobs] == [2.0 * number for number in range(3000)]
        for thread in threads:
            thread.join(60)


def test_results_come_without_hints(fleet: Settings, client: Client) -> None:
    with EchoFleet(fleet, hints=False):
        outcomes = client.map("double", ({"x": [float(number)]} for number in range(200)), window=50, wait=60)
        assert [float(outcome["y"][0]) for outcome in outcomes] == [2.0 * number for number in range(200)]


def test_results_come_where_pub_sub_is_forbidden(
    settings: SettingsFactory, make_topics: MakeTopics, own_redis: RedisFactory
) -> None:
    url = own_redis().url
    with redis.Redis.from_url(url) as administrator:
        administrator.execute_command("ACL SETUSER reader on >secret ~* +@all -@pubsub")
    fleet = settings(redis={"url": url})
    make_topics(fleet)
    reader = url.replace("redis://", "redis://reader:secret@")
    with EchoFleet(fleet), Client(fleet.kafka.bootstrap_servers, reader, fleet=fleet.fleet) as client:
        assert client.submit("double", {"x": [1.0]}).result(timeout=60)["y"][0] == 2.0


def test_a_poller_needs_only_the_id(fleet: Settings, client: Client) -> None:
    with EchoFleet(fleet), Client("127.0.0.1:1", fleet.redis.url, fleet=fleet.fleet) as poller:
        assert poller.poll("a1") is None
        found: list[str] = []
        waiter = threading.Thread(target=lambda: found.append(poller.result("a1", timeout=60).id))
        waiter.start()
        client.submit("double", {"x": [1.0]}, id="a1")
        waiter.join(60)
        assert found == ["a1"]


def test_a_restart_of_redis_is_ridden_out(settings: SettingsFactory, make_topics: MakeTopics, own_redis: RedisFactory) -> None:
    server = own_redis()
    fleet = settings(redis={"url": server.url})
    make_topics(fleet)
    with Client(fleet.kafka.bootstrap_servers, server.url, fleet=fleet.fleet) as client:
        job = client.submit("double", {"x": [1.0]})
        found: list[float] = []
        waiter = threading.Thread(target=lambda: found.append(float(job.result(timeout=90)["y"][0])))
        waiter.start()
        eventually(lambda: client._core.era, "the client is subscribed")
        server.kill()
        eventually(lambda: client._core.trouble, "the client noticed")
        with pytest.raises(ResultTimeout, match="cannot be reached"):
            client.result("another", timeout=0.5)
        with pytest.raises(ResultsUnavailable, match="cannot be reached"):
            client.poll("another")
        server.start()
        with EchoFleet(fleet):
            waiter.join(90)
            assert found == [2.0]
            # Hints work again, too.
            eventually(lambda: client._core.era, "the client is subscribed again")
            assert client.submit("double", {"x": [2.0]}).result(timeout=60)["y"][0] == 4.0


def test_a_job_that_kafka_refuses_fails_at_once_and_by_name(settings: SettingsFactory, make_topics: MakeTopics) -> None:
    fleet = settings(topics={"max_job_bytes": 1_100_000})
    make_topics(fleet)
    with Client(fleet.kafka.bootstrap_servers, fleet.redis.url, fleet=fleet.fleet) as client:
        job = client.submit("double", {"x": np.zeros(1_500_000, np.uint8)}, id="too-large")
        with pytest.raises(DeliveryFailed, match="too-large"):
            job.result()
        with pytest.raises(DeliveryFailed, match="too-large"):
            client.flush()


def test_a_kafka_that_is_not_there_is_told_of_in_time() -> None:
    client = Client(
        "127.0.0.1:1", delivery_timeout=1.0, queue_timeout=0.1, kafka_properties={"queue.buffering.max.messages": 3}
    )
    for number in range(3):
        client.submit("double", {"x": [1.0]}, id=str(number))
    with pytest.raises(QueueFull):
        client.submit("double", {"x": [1.0]})
    with pytest.raises(DeliveryFailed) as caught:
        client.flush()
    assert sorted(caught.value.job_ids) == ["0", "1", "2"]
    client.close()


def test_a_wrong_password_ends_the_wait(settings: SettingsFactory, own_redis: RedisFactory) -> None:
    url = own_redis().url
    with redis.Redis.from_url(url) as administrator:
        administrator.config_set("requirepass", "secret")
    with Client("127.0.0.1:1", url) as client, pytest.raises(ResultsUnavailable, match="refuses this client"):
        client.result("a1")


def test_the_asyncio_client_goes_round(fleet: Settings) -> None:
    async def main() -> None:
        async with AsyncClient(fleet.kafka.bootstrap_servers, fleet.redis.url, fleet=fleet.fleet) as client:
            job = await client.submit("double", {"x": [1.0]})
            assert (await job.result(timeout=60))["y"][0] == 2.0
            items = ({"x": [float(number)]} for number in range(1000))
            found = [float(outcome["y"][0]) async for outcome in client.map("double", items, window=100, wait=60)]
            assert found == [2.0 * number for number in range(1000)]
            jobs = [await client.submit("double", {"x": [float(number)]}) for number in range(500)]
            outcomes = await asyncio.gather(*[job.result(60) for job in jobs])
            assert [float(outcome["y"][0]) for outcome in outcomes] == [2.0 * number for number in range(500)]

    with EchoFleet(fleet):
        asyncio.run(main())


def test_closing_takes_all_threads_and_connections_along(fleet: Settings) -> None:
    with redis.Redis.from_url(fleet.redis.url) as administrator, EchoFleet(fleet):
        administrator.ping()
        threads, connections = threading.active_count(), len(administrator.client_list())
        for _ in range(3):
            with Client(fleet.kafka.bootstrap_servers, fleet.redis.url, fleet=fleet.fleet) as client:
                assert client.submit("double", {"x": [1.0]}).result(timeout=60).status == "succeeded"
        assert threading.active_count() == threads
        eventually(lambda: len(administrator.client_list()) <= connections + 1, "the connections are closed")


def test_waiters_end_when_the_client_is_closed(fleet: Settings) -> None:
    client = Client(fleet.kafka.bootstrap_servers, fleet.redis.url, fleet=fleet.fleet)
    caught: list[Exception] = []

    def wait() -> None:
        try:
            client.result("never")
        except PenstockError as error:
            caught.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    eventually(lambda: client._core.era, "the waiter waits")
    client.close()
    waiter.join(30)
    assert [type(error).__name__ for error in caught] == ["ClientClosed"]
