"""Owns the demo's measuring: what each job took from submit to result, under a load that is told beside the figures.

Two loads, because they answer two questions. *Steady*: jobs leave at fixed times whatever the fleet does (open loop), and
each is timed from the moment it was due, so a stall shows in every job it held up. *Burst*: as many as the client can send
at once, which shows how many jobs a second the fleet gets through; times of single jobs there are the queue's, not told.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.aio import AsyncClient
from penstock.client import Client, Job
from penstock_schemas.outcomes import Outcome

_WAIT: Final = 60.0
"""Longest wait for any outcome, in seconds."""
_WINDOW: Final = 4096
"""Most jobs of a burst on their way at a time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One job of the steady load: when it was due, submitted and back (seconds of one clock), and its outcome."""

    due: float
    back: float
    outcome: Outcome


@dataclass(slots=True)
class Burst:
    """What a burst showed: ``jobs`` in ``seconds``, from the first submit to the last result."""

    jobs: int = 0
    seconds: float = 0.0
    right: int = 0
    batches: Counter[int] = field(default_factory=Counter[int])

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds if self.seconds else 0.0


def percentiles(samples: list[Sample]) -> tuple[float, float, float]:
    """p50, p95 and p99 of due-to-result, in milliseconds."""
    p50, p95, p99 = np.percentile([(one.back - one.due) * 1000 for one in samples], [50, 95, 99])
    return float(p50), float(p95), float(p99)


async def steady(
    client: AsyncClient, model: str, name: str, images: NDArray[np.float32], rate: float, done: Callable[[], None]
) -> list[Sample]:
    """Submit one job per image at ``rate`` jobs a second, each at its time, and time each. Raises the client's errors."""
    begin = time.perf_counter()

    async def one(index: int) -> Sample:
        due = begin + index / rate
        await asyncio.sleep(due - time.perf_counter())
        job = await client.submit(model, {name: images[index : index + 1]})
        outcome = await job.result(timeout=_WAIT)
        done()
        return Sample(due, time.perf_counter(), outcome)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(index)) for index in range(len(images))]
    return [task.result() for task in tasks]


def burst(
    client: Client,
    model: str,
    name: str,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    jobs: int,
    done: Callable[[], None],
) -> Burst:
    """Submit ``jobs`` jobs, the images over and over, as fast as they go, and wait for all. Raises the client's errors."""
    found = Burst()
    expected: dict[str, int] = {}

    def submitted() -> Iterator[Job]:
        for number in range(jobs):
            index = number % len(images)
            job = client.submit(model, {name: images[index : index + 1]})
            expected[job.id] = int(labels[index])
            yield job

    begin = time.perf_counter()
    for job in client.as_completed(submitted(), window=_WINDOW, wait=_WAIT):
        outcome = job.result()
        found.jobs += 1
        found.right += answer(outcome)[0] == expected.pop(job.id)
        if outcome.timings is not None:
            found.batches[outcome.timings.batch_rows] += 1
        done()
    found.seconds = time.perf_counter() - begin
    return found


def answer(outcome: Outcome) -> tuple[int, float]:
    """The digit that the model took the scan for, and how sure it was (0 to 1)."""
    probabilities = outcome["probabilities"].reshape(-1)
    best = int(np.argmax(probabilities))
    return best, float(probabilities[best])
