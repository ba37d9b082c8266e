"""A link passes everything on, and nothing while it is cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.faults.proxy import Link


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says whatever it hears."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(heard: socket.socket) -> None:
        with heard, contextlib.suppress(OSError):
            while data := heard.recv(65536):
                heard.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                heard, _ = server.accept()
                threading.Thread(target=answer, args=(heard,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def hear(client: socket.socket, size: int) -> bytes:
    heard = b""
    while len(heard) < size and (data := client.recv(65536)):
        heard += data
    return heard


def test_everything_passes(echo: int) -> None:
    said = bytes(range(256)) * 4096
    with Link(echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        sender = threading.Thread(target=client.sendall, args=(said,))
        sender.start()
        assert hear(client, len(said)) == said
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_nothing_passes_while_it_is_cut_and_all_of_it_after(echo: int) -> None:
    with Link(echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        client.sendall(b"before")
        assert hear(client, 6) == b"before"
        link.cut()
        client.sendall(b"meanwhile")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        with socket.create_connection(("127.0.0.1", link.port), timeout=0.2) as other:
            other.sendall(b"new")
            with pytest.raises(TimeoutError):
                other.recv(1)
            link.mend()
            client.settimeout(10)
            other.settimeout(10)
            assert hear(client, 9) == b"meanwhile"
            assert hear(other, 3) == b"new"


def test_a_slow_link_keeps_what_it_carries_for_a_while(echo: int) -> None:
    with Link(echo) as link:
        link.slow(latency=60)
        with socket.create_connection(("127.0.0.1", link.port), timeout=0.2) as client:
            client.sendall(b"late")
            with pytest.raises(TimeoutError):
                client.recv(1)
        link.slow(latency=0.01, rate=1_000_000)
        with socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
            client.sendall(bytes(100_000))
            assert hear(client, 100_000) == bytes(100_000)


def test_a_reset_ends_connections_and_not_the_link(echo: int) -> None:
    with Link(echo) as link:
        with socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
            client.sendall(b"a")
            assert hear(client, 1) == b"a"
            link.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
            client.sendall(b"b")
            assert hear(client, 1) == b"b"
