"""Owns dying at a chosen step of a job's way: Python imports this before anything else where this folder is on its path.

``FAULTS_STEP=outcome-confirmed:7`` kills the process with SIGKILL when it passes that step for the seventh time. The steps
are watched where the worker meets its libraries, so nothing of the worker is touched, and none of its names is needed here.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Any

_STEP, _, _TIMES = os.environ.get("FAULTS_STEP", "").partition(":")
_left = int(_TIMES or 1)


def _passed(step: str) -> None:
    """The process has come to ``step``."""
    global _left  # noqa: PLW0603  # it counts for the whole process, which is what dies
    if step == _STEP:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _kind(topic: str) -> str:
    """What a record in ``topic`` is to a job's way."""
    words = topic.split(".")
    return {"outcomes": "outcome", "dead": "letter", "retry": "retry"}.get(words[1] if len(words) > 1 else "", "other")


def _watch_producer() -> None:
    import confluent_kafka

    module: Any = confluent_kafka

    class Producer(module.Producer):  # type: ignore[misc]  # it has no type here, so that it can be put in its place
        def produce(
            self, topic: str, value: Any = None, key: Any = None, partition: int = -1, on_delivery: Any = None, **more: Any
        ) -> None:
            kind = _kind(topic)

            def confirmed(error: Any, message: Any) -> None:
                if error is None:
                    _passed(f"{kind}-confirmed")
                if on_delivery is not None:
                    on_delivery(error, message)

            super().produce(topic, value, key, partition, on_delivery=confirmed, **more)
            _passed(f"{kind}-sent")

    module.Producer = Producer


def _watch_consumer() -> None:
    import confluent_kafka

    module: Any = confluent_kafka

    class Consumer(module.Consumer):  # type: ignore[misc]  # likewise
        def __init__(self, config: dict[str, Any]) -> None:
            inner = config.get("on_commit")

            def committed(error: Any, partitions: Any) -> None:
                if error is None:
                    _passed("commit-confirmed")
                if inner is not None:
                    inner(error, partitions)

            super().__init__(config | {"on_commit": committed})

        def poll(self, timeout: float = -1) -> Any:
            message = super().poll(timeout)
            _taken([] if message is None else [message])
            return message

        def consume(self, num_messages: int = 1, timeout: float = -1) -> Any:
            messages = super().consume(num_messages, timeout)
            _taken(messages)
            return messages

        def commit(self, *arguments: Any, **named: Any) -> Any:
            answer = super().commit(*arguments, **named)
            _passed("commit-sent")
            return answer

    module.Consumer = Consumer


def _taken(messages: Sequence[Any]) -> None:
    for message in messages:
        if message.error() is None:
            kind = _kind(message.topic() or "")
            _passed({"outcome": "outcome-read", "retry": "retry-taken"}.get(kind, "taken"))


def _watch_engine() -> None:
    """The parent's pipe to its engine: the first byte of a token says what it is."""
    from multiprocessing import connection

    pipe: Any = connection.Connection
    send, receive = pipe.send_bytes, pipe.recv_bytes

    def send_bytes(self: Any, buffer: Any, *arguments: Any) -> None:
        send(self, buffer, *arguments)
        if bytes(buffer[:1]) == b"\x01":
            _passed("handed-over")

    def recv_bytes(self: Any, *arguments: Any) -> bytes:
        said: bytes = receive(self, *arguments)
        _passed({b"\x0e": "running", b"\x0f": "answered"}.get(said[:1], "other"))
        return said

    pipe.send_bytes, pipe.recv_bytes = send_bytes, recv_bytes


def _watch_redis() -> None:
    from redis import connection

    socket: Any = connection.Connection
    send = socket.send_packed_command

    def send_packed_command(self: Any, command: Any, *arguments: Any, **named: Any) -> None:
        text = command if isinstance(command, bytes) else b"".join(command)
        applies = b"EVALSHA" in text
        if applies:
            _passed("before-apply")
        send(self, command, *arguments, **named)
        if applies and _STEP == "applied" and _left <= 1:
            select.select([self._sock], [], [], 10.0)  # Redis has answered, so it has applied it
        if applies:
            _passed("applied")

    socket.send_packed_command = send_packed_command


if _STEP and "penstock_worker.engine" not in sys.orig_argv and "penstock_worker" in sys.orig_argv:
    _watch_producer()
    _watch_consumer()
    _watch_engine()
    _watch_redis()
