"""Owns a Kafka of three brokers, each also a controller, that are stopped, killed and started again one or two at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, Self

from tests.faults.deck import CLUSTER, Fault
from tests.faults.schedule import Step

from penstock.local import ApacheKafka
from penstock.local.kafka import new_cluster_id
from penstock.local.process import free_port

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

BROKERS: Final = 3
_BACK_WITHIN: Final = 180.0


class Cluster:
    """Three brokers on the loopback interface. A context manager; it starts all, and ends them."""

    def __init__(self, folder: Path) -> None:
        ports = [(free_port(), free_port()) for _ in range(BROKERS)]
        voters = ",".join(f"{n}@127.0.0.1:{controller}" for n, (_, controller) in enumerate(ports, 1))
        shared = {
            "controller.quorum.voters": voters,
            "offsets.topic.replication.factor": str(BROKERS),
            "transaction.state.log.replication.factor": str(BROKERS),
            "transaction.state.log.min.isr": "2",
            "group.min.session.timeout.ms": "1000",
            "replica.lag.time.max.ms": "4000",
        }
        cluster_id = new_cluster_id()
        self.brokers = [
            ApacheKafka(
                folder / f"broker-{n}",
                port=port,
                heap="384m",
                cluster_id=cluster_id,
                quick=True,
                config=shared
                | {"node.id": str(n), "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"},
            )
            for n, (port, controller) in enumerate(ports, 1)
        ]
        self.bootstrap: Final = ",".join(f"127.0.0.1:{port}" for port, _ in ports)
        self._threads = ThreadPoolExecutor(BROKERS)
        self._starting: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._start(self.brokers)
        self.finish()
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        for broker in self.brokers:
            broker.kill()

    @property
    def starting(self) -> bool:
        """Whether a broker is on its way back."""
        return not all(future.done() for future in self._starting)

    def reached_by(self, member: str, settings: Settings) -> Settings:
        """Every member knows all brokers."""
        del member
        return settings

    def do(self, step: Step) -> None:
        """Do one step; ``target`` names brokers, with a comma."""
        self.finish()
        chosen = [self.brokers[int(number) - 1] for number in step.target.split(",")]
        if step.fault is Fault.START_BROKERS:
            self._start(chosen)
            return
        for broker in chosen:
            if step.fault is Fault.ROLL_BROKER:
                broker.stop()
            else:
                broker.kill()

    def finish(self) -> None:
        """Wait until all that were started answer."""
        while self._starting:
            self._starting.pop().result(_BACK_WITHIN)

    def _start(self, brokers: Sequence[ApacheKafka]) -> None:
        # At once: each answers only when most of them are there.
        self._starting += [self._threads.submit(broker.start) for broker in brokers]


def cluster_schedule(seed: int, rounds: int, *, gap: float) -> list[Step]:
    """``rounds`` times each of the cluster's faults, in turn on each broker, ``gap`` seconds apart."""
    random = Random(seed)
    steps: list[Step] = []
    at = 1.0
    for _ in range(rounds):
        for fault in random.sample(CLUSTER, len(CLUSTER)):
            count = 2 if fault is Fault.KILL_BROKERS else 1
            target = ",".join(str(n) for n in sorted(random.sample(range(1, BROKERS + 1), count)))
            away = random.uniform(0.5, 3.0)
            steps += [Step(at, fault, target), Step(at + away, Fault.START_BROKERS, target)]
            at += away + gap
    return steps
