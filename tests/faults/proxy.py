"""Owns links: small TCP proxies between a fleet and its services, which can be cut, slowed down and reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Final, Self

_CHUNK: Final = 64 * 1024
_HELD: Final = 64
"""Chunks that may be on their way in one direction: a sender beyond that waits, as for a full window."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: the peer gets a reset, not an end."""


@dataclass(slots=True)
class _Weather:
    """What it is like on a link. ``latency`` in seconds each way; ``rate`` in bytes a second each way, None: any."""

    latency: float = 0.0
    rate: float | None = None


class Link:
    """A TCP proxy on the loopback interface, in a thread of its own. A context manager.

    While it is cut, connections stay and new ones are taken, and nothing passes: what a lost network looks like to both ends.
    What was sent meanwhile arrives when it is mended, as TCP itself would have it.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._weather = _Weather()
        self._lost: bytes | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: Final = int(self._socket.getsockname()[1])
        started = threading.Event()
        self._stop = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._run, args=(started,), name=f"link-{self.port}", daemon=True)
        self._thread.start()
        started.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lose(self, beginning: bytes | None) -> None:
        """Let nothing pass to the target on a connection from when something is sent that begins so; None: no more of these.

        It is looked for at the begin of what is sent at a time, after four bytes of length.
        """
        self._lost = beginning

    def cut(self) -> None:
        """Let nothing pass in either direction."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def slow(self, latency: float, rate: float | None = None) -> None:
        """Delay everything by ``latency`` seconds each way, and let pass at most ``rate`` bytes a second each way."""
        self._weather.latency, self._weather.rate = latency, rate

    def mend(self) -> None:
        """Let everything pass at once again."""
        self._weather.latency, self._weather.rate = 0.0, None
        self._loop.call_soon_threadsafe(self._open.set)

    def reset(self) -> None:
        """End every connection with a reset; new ones are taken."""
        self._loop.call_soon_threadsafe(self._reset)

    def close(self) -> None:
        """End it with all its connections. Doing so twice is fine."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self, started: threading.Event) -> None:
        try:
            self._loop.run_until_complete(self._serve(started))
        finally:
            self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket)
        started.set()
        await self._stop.wait()
        server.close()
        self._reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()  # until then nobody answers
            far, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, there, may_lose=True))
                both.create_task(self._carry(far, writer))
        except (OSError, ExceptionGroup):
            pass  # an end went away: so does the connection
        finally:
            self._tasks.discard(task)
            for one in (writer, there):
                if one is not None:
                    self._writers.discard(one)
                    one.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_lose: bool = False) -> None:
        """One direction of one connection, until it ends."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(reader, held, may_lose=may_lose))
            both.create_task(self._give(held, writer))

    async def _take(self, reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]], *, may_lose: bool) -> None:
        chunk, lost = b"-", False
        while chunk:
            chunk = await reader.read(_CHUNK)
            lost = lost or (may_lose and self._lost is not None and chunk[4:].startswith(self._lost))
            if not (lost and chunk):
                await held.put((self._loop.time() + self._weather.latency, chunk))

    async def _give(self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await held.get()
            await asyncio.sleep(due - self._loop.time())
            await self._open.wait()
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()
            rate = self._weather.rate
            if rate is not None:
                await asyncio.sleep(len(chunk) / rate)

    def _reset(self) -> None:
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
