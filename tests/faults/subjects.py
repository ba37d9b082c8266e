"""Owns what a soak goes through: each test, the faults that one run of it tries, and how many clean trials are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Final

from tests.faults.deck import CLUSTER, FLEET, KAFKA, REDIS
from tests.faults.jobs import Kind
from tests.faults.mutants import MUTANTS

WORKER_STEPS: Final[Mapping[str, int]] = {
    "taken": 400,
    "retry-taken": 3,
    "handed-over": 6,
    "running": 30,
    "answered": 30,
    "letter-sent": 10,
    "letter-confirmed": 10,
    "outcome-sent": 400,
    "outcome-confirmed": 400,
    "retry-sent": 5,
    "retry-confirmed": 5,
    "commit-sent": 10,
    "commit-confirmed": 10,
}
"""Steps of a job's way at which a worker kills itself; how often each is passed at most before that, so that it is reached
within seconds."""
PROJECTOR_STEPS: Final[Mapping[str, int]] = {"outcome-read": 400, "before-apply": 20, "applied": 20}
ROUGH: Final[Mapping[Kind, str]] = {
    Kind.CRASHES: "row that crashes its TensorFlow engine",
    Kind.HANGS: "row that hangs its TensorFlow engine",
    Kind.EATS: "row that eats its TensorFlow engine's memory",
    Kind.FLAKY: "row that crashes its TensorFlow engine once",
}
ENGINE_KILLED: Final = "TensorFlow engine killed, and its spare"
ENGINE_REPLACED: Final = "TensorFlow engine replaced: from its death until the next one serves"
WHOLE_WORKER: Final = "row that takes its whole worker with it"
TAKEOVER: Final = "one of three workers killed, default session"
JOINING: Final = "one of three workers killed while another joins, default session"
RECREATED: Final = "outcomes topic deleted and made again"
DAMAGED: Final = "records damaged on the broker's disk"
KAFKA_DISK: Final = "disk full under Kafka"
LOGS_DISK: Final = "disk full under the fleet's logs"
CODECS: Final = ("gzip", "snappy", "lz4", "zstd")
HOSTILE: Final = "thousands of hostile records"
RANDOM_KILLS: Final = "worker killed at random"
REDRIVE: Final = "redrive killed and started again"
DRAINED: Final = "worker or projector drained, and nothing repeated"
TWICE: Final = "jobs submitted twice, before and after the first has run"
LETTERS: Final = "a million letters listed, counted and redriven in bounded memory"
FLAT: Final = "an hour under load: memory, handles and threads stay flat"


def step_name(step: str) -> str:
    """How a step stands in the table of trials."""
    role = "projector" if step in PROJECTOR_STEPS else "worker"
    return f"{role} killed at a step: {step.replace('-', ' ')}"


def last_outcome(fault: str) -> str:
    """How it stands there how long the last of the killed worker's jobs took."""
    return f"{fault}: last outcome"


def bomb_name(codec: str) -> str:
    """How a decompression bomb stands there."""
    return f"decompression bombs in {codec}"


def mutant_name(name: str) -> str:
    """How a broken worker stands there."""
    return f"broken worker found out: {name}"


@dataclass(frozen=True, slots=True)
class Subject:
    """``test`` is a file, seen from this folder, or one test of it.

    ``wanted``: clean trials of each of ``faults``, None: the usual. ``minutes``: about how long the usual takes on two cores.
    ``concerns``: the code whose changes ask for new trials.
    """

    test: str
    faults: Sequence[str]
    minutes: float
    wanted: int | None = None
    concerns: Sequence[str] = ("schemas", "workers")

    @property
    def paths(self) -> tuple[str, ...]:
        """What must be as it was for a trial to count: :attr:`concerns`, and the test itself."""
        return (*self.concerns, normpath(f"tests/faults/{self.test.partition('::')[0]}"))


def _of_worker(*names: str) -> tuple[str, ...]:
    return ("schemas", *(f"workers/penstock_worker/{name}" for name in names))


_TO_KAFKA: Final = _of_worker("intake", "settle", "project", "kafka.py", "topics.py", "damage.py", "work.py")
_TO_REDIS: Final = _of_worker("project", "kafka.py", "companion.py")
_JOBS: Final = _of_worker("engine", "intake", "settle", "caution.py", "clearing.py", "work.py")
SUBJECTS: Final = (
    Subject("test_mutants.py", tuple(mutant_name(mutant.name) for mutant in MUTANTS), 6, wanted=1),
    Subject("test_fleet.py::test_promises_hold_whatever_fails", FLEET, 55),
    Subject("test_fleet.py::test_drains_repeat_nothing", (DRAINED,), 8),
    Subject("test_fleet.py::test_jobs_that_are_submitted_twice_have_one_result", (TWICE,), 8),
    Subject("test_redis_faults.py", REDIS, 25, concerns=_TO_REDIS),
    Subject("test_kafka_faults.py", KAFKA, 45, concerns=_TO_KAFKA),
    Subject("test_cluster.py", CLUSTER, 50, concerns=_TO_KAFKA),
    Subject("test_steps.py", tuple(map(step_name, (*WORKER_STEPS, *PROJECTOR_STEPS))), 80),
    Subject(
        "test_isolation.py::test_rough_jobs_among_others_cost_their_own_tries_alone",
        (*ROUGH.values(), ENGINE_KILLED, ENGINE_REPLACED),
        40,
        concerns=_JOBS,
    ),
    Subject(
        "test_isolation.py::test_a_job_that_kills_whole_workers_does_not_go_from_one_to_the_other",
        (WHOLE_WORKER,),
        35,
        concerns=_JOBS,
    ),
    Subject("test_redrive.py", (REDRIVE,), 20, concerns=("schemas", "producers/penstock/dead")),
    Subject("../integration/cli/test_dead_many.py", (LETTERS,), 15, wanted=1, concerns=("schemas", "producers/penstock/dead")),
    Subject("test_topics.py", (RECREATED,), 6, concerns=_TO_KAFKA),
    Subject("test_damage.py", (DAMAGED,), 10, concerns=_TO_KAFKA),
    Subject("test_disk.py::test_kafka_runs_out_of_disk_and_gets_some_back", (KAFKA_DISK,), 20, concerns=_TO_KAFKA),
    Subject("test_disk.py::test_logs_have_no_room_and_jobs_flow", (LOGS_DISK,), 10),
    Subject("test_bombs.py", tuple(map(bomb_name, CODECS)), 10, concerns=(*_TO_KAFKA, "producers/penstock/topics.py")),
    Subject("test_fuzz.py", (HOSTILE,), 1, wanted=1),
    Subject("test_takeover.py::test_a_killed_workers_jobs_are_taken_over", (TAKEOVER, last_outcome(TAKEOVER)), 20),
    Subject("test_takeover.py::test_a_worker_is_killed_while_another_joins", (JOINING, last_outcome(JOINING)), 17),
    Subject("test_soak.py::test_workers_are_killed_at_random", (RANDOM_KILLS,), 15, wanted=300),
    Subject("test_soak.py::test_nothing_grows", (FLAT,), 62, wanted=1),
)
