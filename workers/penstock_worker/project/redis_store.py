"""Owns the projector's conversation with Redis: one connection, one script, several calls on their way at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

from redis import ConnectionPool, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock_schemas.names import Names
from penstock_schemas.settings import RedisSettings
from penstock_worker.project.plan import Change
from penstock_worker.project.position import NOTHING
from penstock_worker.project.resp import CommandPacker
from penstock_worker.project.store import MOVED, Standing, StoreUnavailable, StoreUnsuitable

_OLDEST: Final = (6, 2)
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.ReadOnlyError, "read-only"),
    (exceptions.OutOfMemoryError, "out of memory"),
    (exceptions.AuthenticationError, "refused"),
    (exceptions.TimeoutError, "silent"),
    (exceptions.ConnectionError, "unreachable"),
    (OSError, "unreachable"),
)
_WORDS: Final = {"READONLY": "read-only", "OOM": "out of memory", "LOADING": "loading"}


class RedisStore:
    """The result cache in one Redis primary. Not safe for several threads.

    It speaks through redis-py's connection, not its client: what the client does besides costs as much again as the packing
    of a batch, and it cannot have a call under way while the next one is made.
    """

    def __init__(self, settings: RedisSettings, names: Names) -> None:
        self._names = names
        self._pool = ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - **kwargs without types
            settings.url,
            protocol=2,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.timeout,
            # No retries of its own: a call that was tried twice might have been applied twice, and we retry for ever anyway.
            retry=Retry(NoBackoff(), 0),
            client_name="penstock-projector",
        )
        self._timeout = settings.timeout
        self._pack = CommandPacker().pack
        self._probe = f"{names.fleet}:position:probe".encode()
        self._connection: Any = None
        self._under_way: deque[tuple[int, int]] = deque()  # (changes, announcements) of each send
        self._script = files(__package__ or "").joinpath("apply.lua").read_bytes()
        self._digest = sha1(self._script, usedforsecurity=False).hexdigest().encode()  # Redis names scripts so

    def check(self) -> None:
        """Raise StoreUnsuitable for a cluster, a server that evicts, or one older than 6.2 (no PXAT)."""
        text: bytes = self._ask((b"INFO",))[0]
        facts = dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)
        if facts.get("redis_mode") == "cluster" or facts.get("cluster_enabled") == "1":
            raise StoreUnsuitable(
                "this Redis is a Cluster, which cannot write results and the projector's position together: "
                "use one primary (replicas and Sentinel are fine)"
            )
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreUnsuitable(
                f"this Redis evicts when it is full (maxmemory-policy {policy}), so results could vanish before their time: "
                "set maxmemory-policy noeviction"
            )
        version = facts.get("redis_version", "")
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers and numbers < _OLDEST:
            raise StoreUnsuitable(f"this Redis is {version}, which cannot expire a result at a given time: use 6.2 or later")

    def read(self, partitions: Sequence[int]) -> Standing:
        if self._under_way:
            raise AssertionError("positions were asked for while changes are under way")
        keys = [self._names.position_key(partition).encode() for partition in partitions]
        # The script is loaded here each time: a server that was restarted or flushed has forgotten it. Writing nothing to a key
        # that is not there changes nothing, but a server that is read-only or full refuses it: so that is seen when idle, too.
        commands: list[Sequence[bytes]] = [
            (b"SCRIPT", b"LOAD", self._script),
            (b"SETRANGE", self._probe, b"0", b""),
            (b"TIME",),
        ]
        if keys:
            commands.append((b"MGET", *keys))
        _, _, time, *positions = self._ask(*commands)
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        return Standing([position or NOTHING for position in positions[0]] if keys else [], now_ms)

    def send(self, changes: Sequence[Change], announce: Mapping[str, Sequence[bytes]]) -> None:
        connection = self._connected()
        try:
            packed = [self._pack(self._command(change)) for change in changes]
            for client, ids in announce.items():
                packed.append(self._pack((b"PUBLISH", self._names.wake_channel(client).encode(), b"\n".join(ids))))
            connection.send_packed_command(packed, check_health=False)
        except (exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error
        self._under_way.append((len(changes), len(announce)))

    def receive(self) -> list[int]:
        changes, announcements = self._under_way.popleft()
        connection = self._connected()
        try:
            answers = [self._answer(connection) for _ in range(changes)]
            for _ in range(announcements):
                with suppress(exceptions.ResponseError):  # a hint; who is not told looks now and then
                    connection.read_response()
        except (exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error
        return answers

    def drop(self) -> None:
        self._under_way.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _command(self, change: Change) -> list[bytes]:
        keys = b"%d" % (1 + len(change.keys) + len(change.replacements))
        command = [b"EVALSHA", self._digest, keys, self._names.position_key(change.partition).encode(), *change.keys]
        command += [replacement.key for replacement in change.replacements]
        command += [change.expected, change.position, b"%d" % len(change.expiries)]
        for length, expiry in change.expiries:
            command += [b"%d" % length, expiry]
        command += change.values
        for replacement in change.replacements:
            command += [replacement.value, replacement.expiry, b"%d" % replacement.generation]
        return command

    @staticmethod
    def _answer(connection: Any) -> int:
        try:
            return int(connection.read_response())
        except exceptions.NoScriptError:
            return MOVED  # nothing was changed; the positions are read next, and the script is loaded with that

    def _connected(self) -> Any:
        if self._connection is None:
            if self._under_way:
                raise AssertionError("the connection went away while changes are under way, and nobody dropped them")
            try:
                pool: Any = self._pool  # its connections have no types worth the name
                self._connection = pool.get_connection()
            except (exceptions.RedisError, OSError) as error:
                raise self._failed(error) from error
        return self._connection

    def _ask(self, *commands: Sequence[bytes]) -> list[Any]:
        connection = self._connected()
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            return [connection.read_response() for _ in commands]
        except (exceptions.RedisError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StoreUnavailable:
        """The error to raise. The connection is given up: answers that are still to come must not meet later questions."""
        self.drop()
        kind = next((kind for of, kind in _KINDS if isinstance(error, of)), "refusing")
        text = str(error) or type(error).__name__
        if kind == "refusing":  # Redis 6 wraps what a script met into an error of its own
            kind = next((kind for word, kind in _WORDS.items() if f"-{word} " in text), kind)
        if kind == "silent":
            text = f"no answer within {self._timeout:g} s"
        return StoreUnavailable(kind, text)
