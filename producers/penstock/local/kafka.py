"""Owns a real Apache Kafka on this machine: one KRaft node in a folder, without Docker."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from penstock.local.errors import LocalError
from penstock.local.guard import Guard
from penstock.local.jars import fetch_jars, java
from penstock.local.process import ManagedProcess, free_port, is_listening

_START_TIMEOUT: Final = 90.0
_STOP_GRACE: Final = 20.0
_QUICK: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A JVM that starts with half the work, on fewer threads, and is slower later."""
_LOG4J: Final = """\
status=OFF
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
"""


class ApacheKafka:
    """One Kafka node (broker and controller) that listens on the loopback interface and lives in ``data_dir``.

    ``port`` 0: any free one, kept across restarts of this object. ``heap``: the JVM's -Xmx. ``config``: broker properties
    over ours. ``cluster_id``: what nodes of one cluster share (22 characters of base64); unset: one of its own. ``quick``:
    start with half the work, and be slower later. What is in ``data_dir`` already is kept. The JVM ends when this process
    does, however it ends.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        heap: str = "512m",
        config: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        quick: bool = False,
        guard: Guard | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._asked_port = port
        self._port = port
        self._heap = heap
        self._config = dict(config or {})
        self._cluster_id = cluster_id or new_cluster_id()
        self._quick = quick
        self._guard = guard
        self._say = say
        self._process: ManagedProcess | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT. Raises LocalError before the first start where any free port was asked for."""
        if not self._port:
            raise LocalError("Kafka was not started, so it has no port yet")
        return f"127.0.0.1:{self._port}"

    @property
    def log_file(self) -> Path:
        return self._data_dir / "kafka.log"

    @property
    def pid(self) -> int:
        """The JVM's process id. Raises LocalError before the first start."""
        if self._process is None:
            raise LocalError("Kafka was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self) -> None:
        """Start it and wait until it answers (about 4 s). Raises LocalError, with the log's end, where it does not."""
        if self.is_running:
            return
        jars = fetch_jars(self._say, self._guard)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        if self._asked_port and is_listening(self._asked_port):
            raise LocalError(f"port {self._asked_port} is in use: choose another for Kafka, or 0 for any free one")
        attempts = 1 if self._port else 3  # a free port may be taken between the look and the use
        for attempt in range(1, attempts + 1):
            port = self._port or free_port()
            try:
                self._start_on(port, jars)
            except LocalError:
                self.kill()
                if attempt == attempts or "BindException" not in _tail(self._process):
                    raise
            except BaseException:
                self.kill()
                raise
            else:
                self._port = port
                return

    def stop(self) -> None:
        """Stop it in good order (SIGTERM); what does not end is killed."""
        if self._process is not None:
            self._process.stop(_STOP_GRACE)

    def kill(self) -> None:
        """SIGKILL: as if the machine had lost power, but for what the operating system still holds."""
        if self._process is not None:
            self._process.kill()

    def _start_on(self, port: int, jars: Path) -> None:
        properties = self._data_dir / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties(port).items()))
        (self._data_dir / "log4j2.properties").write_text(_LOG4J)
        if not (self._data_dir / "logs" / "meta.properties").is_file():
            self._format(jars, properties)
        options = [f"-Xmx{self._heap}", "-XX:+ExitOnOutOfMemoryError", *(_QUICK if self._quick else ())]
        argv = self._java_argv(jars, options, "kafka.Kafka", str(properties))
        self._process = ManagedProcess("Kafka", argv, log=self.log_file, guard=self._guard)
        self._process.start()
        self._process.wait_until(lambda: is_listening(port) and _answers(f"127.0.0.1:{port}"), _START_TIMEOUT)

    def _format(self, jars: Path, properties: Path) -> None:
        argv = self._java_argv(
            jars,
            ["-Xmx128m", *_QUICK],
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={self._cluster_id}",
            f"--config={properties}",
        )
        tool = ManagedProcess("Kafka's StorageTool", argv, log=self.log_file, guard=self._guard)
        try:
            tool.start()
            if (code := tool.wait(_START_TIMEOUT)) != 0:
                raise LocalError(f"Kafka's storage in {self._data_dir} could not be made (exit code {code}){tool.log_tail()}")
        finally:
            tool.kill()

    def _java_argv(self, jars: Path, options: list[str], *command: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._data_dir / 'log4j2.properties'}"
        # No perf data and no unpacked libraries in the shared temporary folder: a killed JVM would leave them there.
        tidy = ["-XX:-UsePerfData", f"-Djava.io.tmpdir={self._data_dir}", "-Djava.awt.headless=true"]
        return [java(), *options, *tidy, log4j, "-cp", f"{jars}/*", *command]

    def _properties(self, port: int) -> dict[str, str]:
        controller = free_port()
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            # Named here and not in the storage, so that the same folder can be served on other ports tomorrow.
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._data_dir / "logs"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A node that was killed may come back once its old session has ended: 9 s by default.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "500",
            **self._config,
        }


def new_cluster_id() -> str:
    """An id as Kafka's own tools make them: a random UUID in 22 characters of base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _tail(process: ManagedProcess | None) -> str:
    return process.log_tail(100) if process is not None else ""


def _answers(bootstrap: str) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=2).brokers)
    except KafkaException:
        return False
