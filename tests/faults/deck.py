"""Owns the list of faults: what each is called, what it is done to, and what ends it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final


class Where(Enum):
    """What a fault is done to; one thing of a kind is away at a time."""

    WORKER = "a worker"
    PROJECTOR = "a projector"
    KAFKA = "Kafka"
    REDIS = "Redis"
    LINK = "a link"


class Fault(StrEnum):
    """What is done. Its text is how it stands in the table of trials; steps that end a fault stand at the end."""

    KILL_WORKER = "worker killed (SIGKILL)"
    DRAIN_WORKER = "worker drained (SIGTERM)"
    FREEZE_WORKER = "worker frozen past its session and woken"
    DOZE_WORKER = "worker frozen for less than its session"
    KILL_ENGINE = "engine killed"
    ADD_WORKER = "worker added"
    KILL_PROJECTOR = "projector killed"
    DRAIN_PROJECTOR = "projector drained"
    FREEZE_PROJECTOR = "projector frozen past its session and woken"

    KILL_KAFKA = "broker killed and started again"
    STOP_KAFKA = "broker hung (SIGSTOP)"
    MORE_PARTITIONS = "partitions added to the jobs topic"
    CUT_LINK = "network partition between members and Kafka"
    SLOW_LINK = "slow network between members and Kafka"
    RESET_LINK = "connections to Kafka reset"

    ROLL_BROKER = "one broker of three stopped and started again"
    KILL_BROKER = "one broker of three killed and started again"
    KILL_BROKERS = "two brokers of three killed and started again: too few in sync"

    KILL_REDIS = "Redis killed and started again, empty"
    FLUSH_REDIS = "Redis flushed"
    OLDER_REDIS = "Redis replaced by an older copy of itself"
    STOP_REDIS = "Redis hung (SIGSTOP)"
    FILL_REDIS = "Redis out of memory"
    READ_ONLY_REDIS = "Redis read-only"
    LONE_REDIS = "Redis without the replicas it must have"
    CUT_REDIS = "network partition between projectors and Redis"
    SLOW_REDIS = "slow network between projectors and Redis"

    ADD = "start"
    WAKE = "wake"
    START_KAFKA = "start Kafka"
    WAKE_KAFKA = "wake Kafka"
    MEND_LINK = "mend link"
    START_BROKERS = "start brokers"
    START_REDIS = "start Redis"
    RESTORE_REDIS = "put the older copy of Redis back"
    WAKE_REDIS = "wake Redis"
    EASE_REDIS = "let Redis take writes again"
    MEND_REDIS = "mend link to Redis"

    @property
    def where(self) -> Where:
        """What it is done to."""
        words = self.name.split("_")
        for where in Where:
            if where.name in words:
                return where
        return _ELSEWHERE.get(self, Where.KAFKA)

    @property
    def is_trial(self) -> bool:
        """Whether it is a fault by itself, and not another's end."""
        return self not in _FOLLOWS


_ELSEWHERE: Final[Mapping[Fault, Where]] = {Fault.KILL_ENGINE: Where.WORKER, Fault.WAKE: Where.WORKER, Fault.ADD: Where.WORKER}

ENDS: Final[Mapping[Fault, Fault]] = {
    Fault.FREEZE_WORKER: Fault.WAKE,
    Fault.DOZE_WORKER: Fault.WAKE,
    Fault.FREEZE_PROJECTOR: Fault.WAKE,
    Fault.KILL_KAFKA: Fault.START_KAFKA,
    Fault.STOP_KAFKA: Fault.WAKE_KAFKA,
    Fault.CUT_LINK: Fault.MEND_LINK,
    Fault.SLOW_LINK: Fault.MEND_LINK,
    Fault.ROLL_BROKER: Fault.START_BROKERS,
    Fault.KILL_BROKER: Fault.START_BROKERS,
    Fault.KILL_BROKERS: Fault.START_BROKERS,
    Fault.KILL_REDIS: Fault.START_REDIS,
    Fault.OLDER_REDIS: Fault.RESTORE_REDIS,
    Fault.STOP_REDIS: Fault.WAKE_REDIS,
    Fault.FILL_REDIS: Fault.EASE_REDIS,
    Fault.READ_ONLY_REDIS: Fault.EASE_REDIS,
    Fault.LONE_REDIS: Fault.EASE_REDIS,
    Fault.CUT_REDIS: Fault.MEND_REDIS,
    Fault.SLOW_REDIS: Fault.MEND_REDIS,
}
"""What ends a fault that lasts."""
_FOLLOWS: Final = {Fault.ADD, *ENDS.values()}

DEADLY: Final = {
    *(Fault.KILL_WORKER, Fault.FREEZE_WORKER, Fault.DOZE_WORKER, Fault.KILL_KAFKA, Fault.STOP_KAFKA, Fault.CUT_LINK),
    *(Fault.ROLL_BROKER, Fault.KILL_BROKER, Fault.KILL_BROKERS),
}
"""After these a worker's partitions may go to others as those of a dead one."""

FLEET: Final = (
    Fault.KILL_WORKER,
    Fault.DRAIN_WORKER,
    Fault.FREEZE_WORKER,
    Fault.DOZE_WORKER,
    Fault.KILL_ENGINE,
    Fault.ADD_WORKER,
    Fault.KILL_PROJECTOR,
    Fault.DRAIN_PROJECTOR,
    Fault.FREEZE_PROJECTOR,
    Fault.KILL_REDIS,
    Fault.FLUSH_REDIS,
)
"""What may become of the fleet's own processes, and of Redis beside them."""
KAFKA: Final = (
    Fault.KILL_KAFKA,
    Fault.STOP_KAFKA,
    Fault.MORE_PARTITIONS,
    Fault.CUT_LINK,
    Fault.CUT_LINK,
    Fault.SLOW_LINK,
    Fault.RESET_LINK,
    Fault.KILL_WORKER,
)
CLUSTER: Final = (Fault.ROLL_BROKER, Fault.KILL_BROKER, Fault.KILL_BROKERS)
REDIS: Final = (
    Fault.KILL_REDIS,
    Fault.FLUSH_REDIS,
    Fault.OLDER_REDIS,
    Fault.STOP_REDIS,
    Fault.FILL_REDIS,
    Fault.READ_ONLY_REDIS,
    Fault.LONE_REDIS,
    Fault.CUT_REDIS,
    Fault.SLOW_REDIS,
    Fault.KILL_PROJECTOR,
)
