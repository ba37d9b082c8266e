"""Owns the services of one fleet's own, and the links over which its members reach them: what is done to those is done here."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import admin as kafka_admin
from redis import Redis
from tests.faults.deck import Fault
from tests.faults.proxy import Link

from penstock.local import ApacheKafka, LocalRedis
from penstock.local.process import free_port
from penstock_schemas.settings import Settings

if TYPE_CHECKING:
    from tests.faults.schedule import Step

LINKS: Final = 2
"""Links to Kafka: members are dealt to them in turn, so that a cut one takes some of the fleet and not all."""
_ADMIN: Final[Any] = kafka_admin  # its stubs do not export what it documents
_CALL: Final = 30.0
_SLOW: Final = (0.15, 256 * 1024)
"""Seconds each way, and bytes a second."""
_TINY: Final = 1024 * 1024


class Site:
    """Kafka and Redis of one fleet's own. A context manager; it starts both, and ends them with all their links.

    Tests reach both directly; members are told of links only (:meth:`reached_by`).
    """

    def __init__(self, folder: Path, *, kafka_folder: Path | None = None) -> None:
        """``kafka_folder``: where the broker lives, if not in ``folder``."""
        port, controller = free_port(), free_port()
        behind = [free_port() for _ in range(LINKS)]
        self.links = {f"link-{n}": Link(port) for n, port in enumerate(behind, 1)}
        names = [f"LINK{n}" for n in range(1, LINKS + 1)]
        shown = zip(names, self.links.values(), strict=True)
        more = {
            "group.min.session.timeout.ms": "1000",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": ",".join(
                [f"PLAINTEXT://127.0.0.1:{port}", f"CONTROLLER://127.0.0.1:{controller}"]
                + [f"{name}://127.0.0.1:{own}" for name, own in zip(names, behind, strict=True)]
            ),
            "advertised.listeners": ",".join(
                [f"PLAINTEXT://127.0.0.1:{port}"] + [f"{name}://127.0.0.1:{link.port}" for name, link in shown]
            ),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in ["CONTROLLER", "PLAINTEXT", *names]),
            "inter.broker.listener.name": "PLAINTEXT",
        }
        self.kafka = ApacheKafka(kafka_folder or folder / "kafka", port=port, config=more, quick=True)
        self.redis = LocalRedis(folder / "redis")
        self._redis_folder = folder / "redis"
        self._redis_link: Link | None = None
        self._client: Any = None
        self._background = ThreadPoolExecutor(1)
        self._starting: list[Future[None]] = []
        self._settings: Settings | None = None

    def __enter__(self) -> Self:
        self.kafka.start()
        self.redis.start()
        self._redis_link = Link(self.redis.port)
        # Its types leave what commands take and give unknown.
        self._client = Redis(port=self.redis.port, socket_timeout=_CALL)
        return self

    def __exit__(self, *_: object) -> None:
        self._background.shutdown()
        self.kafka.kill()
        self.redis.kill()
        if self._client is not None:
            self._client.close()
        for link in [*self.links.values(), self._redis_link]:
            if link is not None:
                link.close()

    def reached_by(self, member: str, settings: Settings) -> Settings:
        """``settings`` with the addresses that ``member`` is to use."""
        assert self._redis_link is not None
        self._settings = settings
        links = list(self.links.values())
        link = links[int(member.rsplit("-", 1)[1]) % len(links)]
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{link.port}"})
        redis = settings.redis.model_copy(update={"url": f"redis://127.0.0.1:{self._redis_link.port}/0"})
        return settings.model_copy(update={"kafka": kafka, "redis": redis})

    def do(self, step: Step) -> None:
        """Do one step that is about a service or a link."""
        fault = step.fault
        if step.target:
            self._to_link(fault, self.links[step.target])
        elif fault in (Fault.CUT_REDIS, Fault.SLOW_REDIS, Fault.MEND_REDIS):
            assert self._redis_link is not None
            self._to_link(fault, self._redis_link)
        elif fault.where.value == "Redis":
            self._to_redis(fault)
        else:
            self._to_kafka(fault)

    @property
    def starting(self) -> bool:
        """Whether something that was asked for is still on its way."""
        return not all(future.done() for future in self._starting)

    def finish(self) -> None:
        """Wait until what was to come back is back."""
        while self._starting:
            self._starting.pop().result(_CALL * 8)  # it may stand behind a start, and others

    def _to_link(self, fault: Fault, link: Link) -> None:
        match fault:
            case Fault.CUT_LINK | Fault.CUT_REDIS:
                link.cut()
            case Fault.SLOW_LINK | Fault.SLOW_REDIS:
                link.slow(*_SLOW)
            case Fault.RESET_LINK:
                link.reset()
            case _:
                link.mend()

    def _to_kafka(self, fault: Fault) -> None:
        match fault:
            case Fault.KILL_KAFKA:
                self.finish()
                self.kafka.kill()
            case Fault.START_KAFKA:  # takes seconds, in which life goes on
                self._starting.append(self._background.submit(self.kafka.start))
            case Fault.STOP_KAFKA:
                self.finish()
                os.kill(self.kafka.pid, signal.SIGSTOP)
            case Fault.WAKE_KAFKA:
                os.kill(self.kafka.pid, signal.SIGCONT)
            case Fault.MORE_PARTITIONS:
                self._starting.append(self._background.submit(self._more_partitions))
            case _:
                raise ValueError(f"{fault} is not done to a broker")

    def _to_redis(self, fault: Fault) -> None:
        match fault:
            case Fault.KILL_REDIS:
                self.redis.kill()
            case Fault.START_REDIS:
                self.redis.start()
            case Fault.OLDER_REDIS:
                self._client.save()
                shutil.move(self._redis_folder / "dump.rdb", self._redis_folder / "older.rdb")
            case Fault.RESTORE_REDIS:
                self.redis.kill()
                shutil.move(self._redis_folder / "older.rdb", self._redis_folder / "dump.rdb")
                self.redis.start()
                (self._redis_folder / "dump.rdb").unlink()
            case Fault.STOP_REDIS | Fault.WAKE_REDIS:
                os.kill(self.redis.pid, signal.SIGSTOP if fault is Fault.STOP_REDIS else signal.SIGCONT)
            case _:
                self._ask_redis(fault)

    def _ask_redis(self, fault: Fault) -> None:
        match fault:
            case Fault.FLUSH_REDIS:
                self._client.flushall()
            case Fault.FILL_REDIS:
                self._client.config_set("maxmemory", _TINY)
            case Fault.READ_ONLY_REDIS:
                self._client.replicaof("127.0.0.1", free_port())
            case Fault.LONE_REDIS:
                self._client.config_set("min-replicas-to-write", 1)
            case _:
                self._client.replicaof("NO", "ONE")
                self._client.config_set("maxmemory", 0)
                self._client.config_set("min-replicas-to-write", 0)

    def _more_partitions(self) -> None:
        assert self._settings is not None
        admin = _ADMIN.AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})
        topic = self._settings.names.jobs()
        partitions = len(admin.list_topics(topic, timeout=_CALL).topics[topic].partitions)
        for future in admin.create_partitions([_ADMIN.NewPartitions(topic, partitions + 1)]).values():
            try:
                future.result(_CALL)
            except KafkaException as error:
                # The client asks again where the first answer was lost; then they are there already.
                if error.args[0].code() != KafkaError.INVALID_PARTITIONS:
                    raise
