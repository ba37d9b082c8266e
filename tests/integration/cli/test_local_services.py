"""Local services: they start, keep what they were given, and never outlive the process that started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer
from tests.support import KafkaFactory, RedisFactory, eventually

from penstock.local import Guard, LocalError, LocalRedis, ManagedProcess
from penstock.local.embedded import EmbeddedKafka
from penstock.topics import TopicManager
from penstock_schemas.settings import load_settings


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def consumed(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        message = consumer.poll(30)
        assert message is not None
        assert message.error() is None, message.error()
        value = message.value()
        return value if isinstance(value, bytes) else None
    finally:
        consumer.close()


def produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def test_kafka_keeps_its_address_and_its_records_when_it_is_killed_and_started_again(own_kafka: KafkaFactory) -> None:
    kafka = own_kafka()
    settings = load_settings(fleet="kept", kafka={"bootstrap_servers": kafka.bootstrap})
    assert TopicManager(settings).apply() == []
    before, pid = kafka.bootstrap, kafka.pid
    produce(before, settings.names.jobs(), b"kept")
    kafka.kill()
    assert not kafka.is_running
    assert not is_alive(pid)
    kafka.start()
    assert kafka.bootstrap == before
    assert consumed(before, settings.names.jobs()) == b"kept"


def test_redis_keeps_its_address_and_what_it_was_asked_to_keep(own_redis: RedisFactory) -> None:
    server = own_redis(args=["--appendonly", "yes", "--appendfsync", "always"])
    url = server.url
    with redis.Redis.from_url(url) as client:
        client.set("key", "kept")
    server.kill()
    server.start()
    assert server.url == url
    with redis.Redis.from_url(url) as client:
        assert client.get("key") == b"kept"


def test_redis_never_evicts(own_redis: RedisFactory) -> None:
    with redis.Redis.from_url(own_redis().url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port} is in use"):
            LocalRedis(tmp_path, port=port).start()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"ended with exit code 1 .*(?s:.*)no-such-argument"):
        LocalRedis(tmp_path, args=["--no-such-argument", "yes"]).start()


def test_the_embedded_broker_carries_records_and_makes_topics_by_name() -> None:
    broker = EmbeddedKafka()
    broker.start()
    try:
        broker.make_topics(["t"])
        produce(broker.bootstrap, "t", b"value")
        assert consumed(broker.bootstrap, "t") == b"value"
    finally:
        broker.stop()


OWNER = """
import signal, sys, time
from pathlib import Path
from penstock.local import Guard, ManagedProcess
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background inherits it ignored
guard = Guard()
folder = guard.make_folder("penstock-test-", Path(sys.argv[1]))
(folder / "file").write_text("x")
# A child in its own session, as a worker's engines are, below a child of ours.
nested = "import subprocess as s, time; print(s.Popen(['sleep', '99'], start_new_session=True).pid, flush=True); time.sleep(99)"
child = ManagedProcess("child", [sys.executable, "-c", nested], log=folder / "log", guard=guard)
child.start()
child.wait_until(lambda: (folder / "log").read_text().endswith("\\n"), 30)
print(folder, child.pid, (folder / "log").read_text().strip(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_owner_however_it_ends(tmp_path: Path, number: int) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    folder, *pids = owner.stdout.readline().split()
    assert all(is_alive(int(pid)) for pid in pids)
    owner.send_signal(number)
    owner.wait(30)
    owner.stdout.close()
    eventually(lambda: not any(is_alive(int(pid)) for pid in pids), "the processes are gone")
    eventually(lambda: not Path(folder).exists(), "the folder is gone")


def test_a_guard_leaves_alone_what_was_released(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        with Guard() as guard:
            guard.watch_group(child.pid)
            guard.release_group(child.pid)
        assert is_alive(child.pid)
        with Guard() as guard:
            guard.watch_group(child.pid)
        assert child.wait(30) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()


def test_a_child_does_not_begin_before_it_is_watched(tmp_path: Path) -> None:
    """If its owner dies between making it and watching it, it ends without having done anything."""
    reader, writer = os.pipe()
    from penstock.local import process

    held = subprocess.Popen(
        ["/bin/sh", "-c", process._WAIT_FOR_GO, "held", "touch", str(tmp_path / "began")], stdin=reader, start_new_session=True
    )
    os.close(reader)
    os.close(writer)  # as the death of the owner would
    held.wait(30)
    assert not (tmp_path / "began").exists()


@pytest.mark.parametrize(
    ("handler", "grace", "code"), [("lambda *_: sys.exit(7)", 30.0, 7), ("signal.SIG_IGN", 0.1, -signal.SIGKILL)]
)
def test_a_process_is_stopped_in_good_order_and_killed_if_it_will_not(
    tmp_path: Path, handler: str, grace: float, code: int
) -> None:
    script = f"import signal, sys, time\nsignal.signal(15, {handler})\nprint('up', flush=True)\ntime.sleep(600)"
    log = tmp_path / "log"
    child = ManagedProcess("child", [sys.executable, "-c", script], log=log)
    child.start()
    child.wait_until(lambda: log.read_text() == "up\n", 30)
    assert child.stop(grace) == code
