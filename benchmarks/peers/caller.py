"""A caller of a peer's server: ``… -m benchmarks.peers.caller PORT PATH TYPE CONNECTIONS COUNT``, the body in standard input.

Closed loop: each connection has one request under way. It is written on sockets and epoll, since on cores that it shares with
the server whatever a client library costs would be taken for the server's. Answers are kept by job id, as a caller would.
Prints one line of JSON: the rate, and each request's time in ms, as percentiles.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import count as counter
from typing import Any

import numpy as np

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


def call(port: int, request: bytes, connections: int, count: int) -> dict[str, Any]:
    """Send ``count`` requests over so many connections. Raises BadAnswer, or OSError where nobody listens."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        open_: dict[int, socket.socket] = {}
        for _ in range(min(connections, count)):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            open_[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)
        return _closed_loop(poll, open_, request, count)


def _closed_loop(poll: select.epoll, open_: Mapping[int, socket.socket], request: bytes, count: int) -> dict[str, Any]:
    numbers = counter()
    under_way: dict[int, int] = {}
    begun, took = [0.0] * count, [0.0] * count
    parts: dict[int, bytes] = {}
    answers: dict[int, bytes] = {}
    begin = time.perf_counter()
    for handle, connection in open_.items():
        under_way[handle] = number = next(numbers)
        begun[number] = time.perf_counter()
        connection.sendall(request)
    while len(answers) < count:
        events = poll.poll(_PATIENCE)
        if not events:
            raise BadAnswer(f"the server did not answer within {_PATIENCE} s")
        for handle, _ in events:
            if not (more := open_[handle].recv(_BUFFER)):
                raise BadAnswer("the server closed a connection")
            data = parts.pop(handle, b"") + more
            body = answer_of(data)
            if body is None:
                parts[handle] = data
                continue
            done, now = under_way[handle], time.perf_counter()
            answers[done], took[done] = body, now - begun[done]
            number = next(numbers)
            if number < count:
                under_way[handle], begun[number] = number, now
                open_[handle].sendall(request)
    spent = time.perf_counter() - begin
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    told = {"answers": len(answers), "bytes": sum(map(len, answers.values())), "cpu_s": time.process_time()}
    return {"per_second": count / spent, "p50_ms": p50, "p99_ms": p99, **told}


if __name__ == "__main__":
    port, path, content_type, connections, count = sys.argv[1:]
    body = sys.stdin.buffer.read()
    print(json.dumps(call(int(port), request_of(path, content_type, body), int(connections), int(count))))
