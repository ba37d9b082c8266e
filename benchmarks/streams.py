"""Owns subjects that read jobs from Kafka and leave results in Redis: the fleet, the loop, and peers of their kind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from confluent_kafka import Producer

from benchmarks.drain import Running, drain, running
from benchmarks.peers.environments import python_of
from benchmarks.peers.pacing import pace
from benchmarks.processes import held_mb
from benchmarks.results import Figures
from benchmarks.site import Site
from benchmarks.works import Work, id_of
from penstock.local.worker import worker_environment
from penstock_schemas.settings import Settings

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Command:
    """How a subject is started. ``prefix``: its results' keys in Redis; ``besides``: keys there that are none."""

    argv: list[str]
    prefix: str
    env: Mapping[str, str] | None = None
    besides: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """``command`` says how it is started on a site, for a fleet's topics and a work."""

    name: str
    command: Callable[[Site, Settings, Work], Command]

    def drain(self, site: Site, settings: Settings, work: Work, jobs: int) -> Figures:
        """Empty the backlog of ``jobs`` jobs."""
        command = self.command(site, settings, work)
        with redis.Redis.from_url(site.store.url) as store, self._running(site, command) as subject:
            return drain(subject, lambda: max(0, int(store.dbsize()) - command.besides), jobs, site.services)

    def pace(self, site: Site, settings: Settings, work: Work, rate: float, count: int) -> Figures:
        """``count`` jobs evenly apart: from when each is due until a GET finds its result. The topic is empty."""
        command = self.command(site, settings, work)
        with redis.Redis.from_url(site.store.url) as store, self._running(site, command) as subject:
            value, topic = work.value(), settings.names.jobs()
            producer: Any = Producer({"bootstrap.servers": site.kafka.bootstrap, "linger.ms": 0, "enable.idempotence": True})
            waiting: dict[int, str] = {}

            def submit(number: int) -> None:
                key, headers = work.key_and_headers(number)
                producer.produce(topic, value, key, headers=headers)
                producer.poll(0)
                waiting[number] = command.prefix + id_of(number)

            def arrived() -> Iterator[int]:
                numbers = list(waiting)
                for number, found in zip(numbers, store.mget(list(waiting.values())) if numbers else (), strict=True):
                    if found is not None:
                        del waiting[number]
                        yield number

            submit(count)  # the first job waits for the model
            figures: Figures = {"first_result_s": subject.first_result_s(lambda: any(arrived()))}
            figures |= pace(submit, arrived, rate, count)
            producer.flush(10)
            return figures | {"rss_mb": held_mb(subject.pid)}

    def _running(self, site: Site, command: Command) -> AbstractContextManager[Running]:
        return running(command.argv, site.folder / f"{self.name}.log", command.env)


def _fleet(site: Site, settings: Settings, _: Work) -> Command:
    """One `penstock worker` of both roles, everything on."""
    config = site.folder / "empty.toml"  # or it would read the penstock.toml of the folder it runs in
    config.write_text("")
    argv = [sys.executable, "-m", "penstock_worker", "--config", str(config)]
    worker = settings.worker.model_copy(update={"queues": [""]})  # not the echo's
    env = worker_environment(settings.model_copy(update={"worker": worker}))
    positions = settings.topics.outcome_partitions  # the projector keeps a key for each
    return Command(argv, settings.names.result_prefix, env, positions)


def _loop(site: Site, settings: Settings, work: Work) -> Command:
    argv = [sys.executable, str(_HERE / "peers/loop/worker.py"), site.kafka.bootstrap, *_topics(settings), site.store.url]
    argv += [str(site.model(work.model) / "1"), str(work.max_batch), json.dumps(work.row)]
    return Command(argv, "loop:result:")


def peer(name: str) -> Stream:
    """A peer of this kind, in its own environment."""

    def command(site: Site, settings: Settings, work: Work) -> Command:
        argv = [python_of(name), "-m", f"benchmarks.peers.{name}.worker", site.kafka.bootstrap, *_topics(settings)]
        return Command([*argv, site.store.url], "peer:result:", peer_environment(site, work))

    return Stream(name, command)


def peer_environment(site: Site, work: Work, **more: str) -> dict[str, str]:
    """What every peer is told."""
    told = {"PEER_MODEL": str(site.model(work.model) / "1"), "PEER_ROWS": str(work.max_batch), "PEER_ROW": json.dumps(work.row)}
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **told, **more}


def _topics(settings: Settings) -> tuple[str, str]:
    """Where jobs come from, and where outcomes go: the echo's, which no projector reads."""
    return settings.names.jobs(), settings.names.jobs("echo")


FLEET: Final = Stream("fleet", _fleet)
LOOP: Final = Stream("loop", _loop)
