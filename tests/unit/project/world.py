"""Owns a world in memory for the projector's loop: a topic, a store, a clock, and what was counted."""

from __future__ import annotations

from tests.unit.project.fake_source import FakeSource, FakeTopic

from penstock_schemas.names import Names
from penstock_worker.project.plan import Planner
from penstock_worker.project.position import Cause
from penstock_worker.project.projector import Projector
from penstock_worker.project.store import MemoryStore

TTL = 3600.0
START_MS = 1_800_000_000_000


class Figures:
    def __init__(self) -> None:
        self.kafka_problem: str | None = None
        self.written = self.present = self.garbage = self.expired = 0
        self.causes: list[Cause] = []
        self.available: list[bool] = []
        self.behind = -1

    def projected(self, written: int, present: int) -> None:
        self.written += written
        self.present += present

    def skipped(self, garbage: int, expired: int) -> None:
        self.garbage += garbage
        self.expired += expired

    def started(self, cause: Cause) -> None:
        self.causes.append(cause)

    def store_available(self, available: bool) -> None:
        self.available.append(available)

    def lag(self, records: int) -> None:
        self.behind = records


class World:
    """One topic, one store, a clock, and projectors on them."""

    def __init__(self, partitions: int = 1) -> None:
        self.seconds = 0.0
        self.topic = FakeTopic(partitions)
        self.store = MemoryStore(lambda: self.now_ms)
        self.figures = Figures()

    @property
    def now_ms(self) -> int:
        return START_MS + int(self.seconds * 1000)

    def wait(self, seconds: float) -> None:
        self.seconds += max(seconds, 0.001)

    def projector(self, mine: set[int] | None = None) -> tuple[Projector, FakeSource]:
        source = FakeSource(self.topic, mine if mine is not None else set(range(len(self.topic.logs))), self.wait)
        planner = Planner(Names("f"), TTL)
        return Projector(source, self.store, planner, TTL, metrics=self.figures, clock=lambda: self.seconds), source

    def publish(self, *ids: str, partition: int = 0, text: str = "", generation: int = 0, reply_to: str = "me") -> None:
        for job_id in ids:
            value = f'{{"contract":"1","generation":{generation},"reply_to":"{reply_to}","id":"{job_id}","text":"{text}"}}\n'
            self.topic.logs[partition].append((job_id.encode(), value.encode(), self.now_ms))

    def texts(self) -> dict[str, str]:
        found = {key.decode().rpartition(":")[2]: self.store.get(key) for key in self.store.results}
        return {
            job_id: value.decode().split('"text":"')[1].split('"')[0] for job_id, value in found.items() if value is not None
        }

    def told(self) -> list[str]:
        return [job_id.decode() for _, ids in self.store.announced for job_id in ids]
