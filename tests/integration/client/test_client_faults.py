"""Services that are killed, hung and woken while clients use them: a clear error in the caller's own time, and no lost wait."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from tests.integration.client.echo import EchoFleet
from tests.support import eventually, frozen

from penstock import AsyncClient, Client, DeliveryFailed, FlushTimeout, ResultsUnavailable, ResultTimeout

if TYPE_CHECKING:
    from tests.support import KafkaFactory, MakeTopics, RedisFactory, SettingsFactory

    from penstock.local import ApacheKafka, LocalRedis
    from penstock_schemas.settings import Settings

AWAY = "Redis cannot be reached|Redis has not answered"


@pytest.fixture
def server(own_redis: RedisFactory) -> LocalRedis:
    return own_redis()


@pytest.fixture
def fleet(settings: SettingsFactory, make_topics: MakeTopics, server: LocalRedis) -> Settings:
    made = settings(redis={"url": server.url})
    make_topics(made)
    return made


class Waiter:
    """A thread that waits for one job's result."""

    def __init__(self, client: Client, job_id: str, timeout: float = 90) -> None:
        self.found: list[float | str] = []
        self._thread = threading.Thread(target=self._wait, args=(client, job_id, timeout))
        self._thread.start()

    def _wait(self, client: Client, job_id: str, timeout: float) -> None:
        try:
            self.found.append(float(client.result(job_id, timeout=timeout)["y"][0]))
        except ResultTimeout as error:
            self.found.append(str(error))

    def join(self) -> list[float | str]:
        self._thread.join(120)
        return self.found


def test_a_waiter_rides_out_a_redis_that_hangs_and_wakes(fleet: Settings, server: LocalRedis) -> None:
    with Client(fleet.kafka.bootstrap_servers, server.url, fleet=fleet.fleet, redis_timeout=1.0) as client:
        client.submit("double", {"x": [1.0]}, id="own")
        own, foreign = Waiter(client, "own"), Waiter(client, "foreign")
        eventually(lambda: client._core.era, "the client is subscribed")
        with frozen(server.pid):
            eventually(lambda: client._core.trouble, "the client noticed")
            with pytest.raises(ResultTimeout, match=AWAY):
                client.result("another", timeout=0.5)
            with pytest.raises(ResultsUnavailable, match="cannot be reached"):
                client.poll("another")
        with EchoFleet(fleet):
            with Client(fleet.kafka.bootstrap_servers, fleet=fleet.fleet) as other:
                other.submit("double", {"x": [2.0]}, id="foreign")
            assert own.join() == [2.0]
            assert foreign.join() == [4.0]
        eventually(lambda: client._core.era, "the client is subscribed again")


def test_a_wait_that_is_shorter_than_redis_own_limit_is_told_why(fleet: Settings, server: LocalRedis) -> None:
    with Client(fleet.kafka.bootstrap_servers, server.url, fleet=fleet.fleet, redis_timeout=30.0) as client:
        assert client.poll("another") is None
        with frozen(server.pid), pytest.raises(ResultTimeout, match="Redis has not answered for"):
            client.result("another", timeout=1.5)


def test_waits_end_in_their_own_time_while_redis_is_away_for_good(fleet: Settings, server: LocalRedis) -> None:
    with Client(fleet.kafka.bootstrap_servers, server.url, fleet=fleet.fleet, redis_timeout=1.0) as client:
        assert client.poll("a") is None
        server.kill()
        said = Waiter(client, "a", timeout=1.0).join()
        assert len(said) == 1
        assert "cannot be reached" in str(said[0])
        jobs = [client.submit("double", {"x": [1.0]}) for _ in range(3)]
        with pytest.raises(ResultTimeout, match="cannot be reached"):
            list(client.as_completed(jobs, wait=0.5))


def test_redis_may_restart_more_than_once_during_one_wait(fleet: Settings, server: LocalRedis) -> None:
    with Client(fleet.kafka.bootstrap_servers, server.url, fleet=fleet.fleet, redis_timeout=1.0) as client:
        client.submit("double", {"x": [3.0]}, id="a")
        waiter = Waiter(client, "a")
        for _ in range(2):
            eventually(lambda: client._core.era, "the client is subscribed")
            server.kill()
            eventually(lambda: client._core.trouble, "the client noticed")
            server.start()
        with EchoFleet(fleet, hints=False):
            assert waiter.join() == [6.0]


@pytest.fixture
def broker(own_kafka: KafkaFactory) -> ApacheKafka:
    return own_kafka()


@pytest.fixture
def brokers_fleet(settings: SettingsFactory, make_topics: MakeTopics, broker: ApacheKafka) -> Settings:
    made = settings(kafka={"bootstrap_servers": broker.bootstrap})
    make_topics(made)
    return made


def test_jobs_submitted_while_kafka_is_down_go_when_it_is_back(brokers_fleet: Settings, broker: ApacheKafka) -> None:
    with Client(broker.bootstrap, brokers_fleet.redis.url, fleet=brokers_fleet.fleet) as client:
        client.submit("double", {"x": [1.0]})
        client.flush(60)
        broker.kill()
        job = client.submit("double", {"x": [2.0]})
        with pytest.raises(FlushTimeout, match=r"has not confirmed 1 jobs within 0\.5 s"):
            client.flush(0.5)
        broker.start()
        client.flush(90)
        with EchoFleet(brokers_fleet):
            assert job.result(timeout=60)["y"][0] == 4.0


def test_a_kafka_that_hangs_is_told_of_and_ridden_out(brokers_fleet: Settings, broker: ApacheKafka) -> None:
    with Client(broker.bootstrap, brokers_fleet.redis.url, fleet=brokers_fleet.fleet) as client:
        client.submit("double", {"x": [1.0]})
        client.flush(60)
        with frozen(broker.pid):
            job = client.submit("double", {"x": [2.0]})
            with pytest.raises(FlushTimeout):
                client.flush(0.5)
        client.flush(90)
        with EchoFleet(brokers_fleet):
            assert job.result(timeout=60)["y"][0] == 4.0


def test_jobs_that_kafka_never_takes_fail_by_name_in_their_delivery_time(brokers_fleet: Settings, broker: ApacheKafka) -> None:
    client = Client(broker.bootstrap, brokers_fleet.redis.url, fleet=brokers_fleet.fleet, delivery_timeout=2.0)
    client.submit("double", {"x": [1.0]})
    client.flush(60)
    broker.kill()
    job = client.submit("double", {"x": [2.0]}, id="lost")
    with pytest.raises(DeliveryFailed, match="lost"):
        job.result(timeout=60)
    with pytest.raises(DeliveryFailed, match="lost"):
        client.close()


def test_the_asyncio_client_rides_out_the_same(fleet: Settings, server: LocalRedis) -> None:
    async def main() -> None:
        async with AsyncClient(fleet.kafka.bootstrap_servers, server.url, fleet=fleet.fleet, redis_timeout=1.0) as client:
            job = await client.submit("double", {"x": [1.0]})
            await client.flush(60)
            with frozen(server.pid):
                with pytest.raises(ResultTimeout):
                    await job.result(timeout=0.5)
                with pytest.raises(ResultsUnavailable, match="cannot be reached"):
                    await client.poll("another")
            waiting = asyncio.create_task(job.result(timeout=90))
            with EchoFleet(fleet):
                assert (await waiting)["y"][0] == 2.0

    asyncio.run(main())
