"""A caller of a server: ``… -m benchmarks.peers.caller PORT PATH TYPE CONNECTIONS COUNT [RATE]``, the body in standard input.

Without a rate each connection always has one request under way. It is written on sockets and epoll, since on cores that it
shares with the server whatever a client library costs would be taken for the server's. Answers are kept by job id, as a caller
would. Prints one line of JSON: the rate, and how long requests took in ms, as percentiles.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from benchmarks.peers.pacing import pace

_BUFFER = 1 << 20
_PATIENCE = 60


class BadAnswer(RuntimeError):
    """The server did not answer with 200 and a length."""


def answer_of(data: bytes) -> bytes | None:
    """The body of an answer; None while it is not all there. Raises BadAnswer where it is no success."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"content-length:")
    if not head.startswith(b"http/1.1 200") or at < 0:
        raise BadAnswer(data[:2000].decode(errors="replace"))
    length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    body = data[end + 4 :]
    return body if len(body) >= length else None


def request_of(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connections:
    """Connections that stay open, each with at most one request under way."""

    def __init__(self, stack: ExitStack, port: int, request: bytes, count: int) -> None:
        self._request = request
        self._poll = stack.enter_context(select.epoll())
        self._sockets: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}
        self._under_way: dict[int, int] = {}
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
        self._free = deque(self._sockets)
        self._waiting: deque[int] = deque()

    def send(self, number: int) -> None:
        """Ask for job ``number``, as soon as a connection is free."""
        self._waiting.append(number)
        self._send()

    def _send(self) -> None:
        while self._waiting and self._free:
            handle = self._free.popleft()
            self._under_way[handle] = self._waiting.popleft()
            self._sockets[handle].sendall(self._request)

    def answers(self, timeout: float) -> Iterator[tuple[int, bytes]]:
        """What has come, by job. Raises BadAnswer."""
        for handle, _ in self._poll.poll(timeout):
            if not (more := self._sockets[handle].recv(_BUFFER)):
                raise BadAnswer("the server closed a connection")
            data = self._parts.pop(handle, b"") + more
            body = answer_of(data)
            if body is None:
                self._parts[handle] = data
                continue
            self._free.append(handle)
            yield self._under_way[handle], body
            self._send()


@contextmanager
def connect(port: int, request: bytes, count: int) -> Generator[Connections]:
    """So many connections. Raises OSError where nobody listens."""
    with ExitStack() as stack:
        yield Connections(stack, port, request, count)


def call(port: int, request: bytes, connections: int, count: int) -> dict[str, Any]:
    """Send ``count`` requests over so many connections, in a closed loop. Raises BadAnswer, OSError."""
    begun, took = [0.0] * count, [0.0] * count
    answers: dict[int, bytes] = {}
    with connect(port, request, min(connections, count)) as open_:
        begin = heard = time.perf_counter()
        for number in range(min(connections, count)):
            begun[number] = time.perf_counter()
            open_.send(number)
        submitted = min(connections, count)
        while len(answers) < count:
            for done, body in open_.answers(1):
                heard = time.perf_counter()
                answers[done], took[done] = body, heard - begun[done]
                if submitted < count:
                    begun[submitted] = heard
                    open_.send(submitted)
                    submitted += 1
            if time.perf_counter() - heard > _PATIENCE:
                raise BadAnswer(f"the server did not answer within {_PATIENCE} s")
        spent = time.perf_counter() - begin
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    told = {"answers": len(answers), "bytes": sum(map(len, answers.values())), "cpu_s": time.process_time()}
    return {"per_second": count / spent, "p50_ms": p50, "p99_ms": p99, **told}


def paced(port: int, request: bytes, connections: int, count: int, rate: float) -> dict[str, Any]:
    """Send ``count`` requests evenly apart. Raises BadAnswer, OSError, TimeoutError."""
    with connect(port, request, connections) as open_:
        return pace(open_.send, lambda: [number for number, _ in open_.answers(0)], rate, count)


if __name__ == "__main__":
    port, path, content_type, connections, count, *rate = sys.argv[1:]
    request = request_of(path, content_type, sys.stdin.buffer.read())
    if rate:
        print(json.dumps(paced(int(port), request, int(connections), int(count), float(rate[0]))))
    else:
        print(json.dumps(call(int(port), request, int(connections), int(count))))
