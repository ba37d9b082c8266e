"""Owns what one run counts: latencies in a histogram, results by second, and samples of where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from penstock_schemas.outcomes import Outcome

LONGEST_S: Final = 3600.0
_DIGITS: Final = 3
"""Significant digits that a histogram keeps: of a second, the millisecond."""
PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)
STAGES: Final = ("queue", "decode", "wait", "infer", "encode")
"""What a worker tells of each job, in the order in which it does them."""


class Latencies:
    """A histogram of times, from a microsecond to an hour, to three digits (HdrHistogram)."""

    def __init__(self) -> None:
        self._histogram: Any = HdrHistogram(1, int(LONGEST_S * 1e6), _DIGITS)

    def add(self, seconds: float) -> None:
        """One time; what is longer than an hour counts as an hour."""
        self._histogram.record_value(min(max(int(seconds * 1e6), 1), int(LONGEST_S * 1e6)))

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    @property
    def mean_ms(self) -> float:
        return float(self._histogram.get_mean_value()) / 1e3 if self.count else 0.0

    def ms(self, percentile: float) -> float:
        """The time, in milliseconds, within which so many of a hundred were; 0 where there are none."""
        return float(self._histogram.get_value_at_percentile(percentile)) / 1e3 if self.count else 0.0

    def percentiles_ms(self) -> dict[str, float]:
        return {f"{percentile:g}": self.ms(percentile) for percentile in PERCENTILES}

    def encoded(self) -> str:
        """HdrHistogram's own compressed form (V2), in base64: other programs can read it."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode("ascii")


@dataclass(slots=True)
class Second:
    """What came back within one second of a run."""

    back: int = 0
    latencies: Latencies = field(default_factory=Latencies)


@dataclass(slots=True)
class StageSums:
    """Sums over the jobs that were looked into, in microseconds; ``jobs`` of them."""

    jobs: int = 0
    totals: Counter[str] = field(default_factory=Counter[str])
    busy: float = 0.0
    """The engines' time: each job's share of its batch's inference."""
    total: float = 0.0
    """From when they were due until their results were here."""
    batch_rows: list[int] = field(default_factory=list[int])

    def add(self, outcome: Outcome, rows: int, seconds: float) -> None:
        timings = outcome.timings
        if timings is None:
            return
        self.jobs += 1
        self.total += seconds * 1e6
        figures = (timings.queue_us, timings.decode_us, timings.batch_wait_us, timings.infer_us, timings.encode_us)
        self.totals.update(dict(zip(STAGES, figures, strict=True)))
        self.busy += timings.infer_us * rows / max(timings.batch_rows, rows, 1)
        self.batch_rows.append(timings.batch_rows)

    def __add__(self, other: StageSums) -> StageSums:
        return StageSums(
            self.jobs + other.jobs,
            self.totals + other.totals,
            self.busy + other.busy,
            self.total + other.total,
            self.batch_rows + other.batch_rows,
        )

    def means_us(self) -> dict[str, float]:
        return {stage: self.totals[stage] / self.jobs for stage in STAGES} if self.jobs else {}


@dataclass(slots=True)
class Tally:
    """One run's counts. Times are seconds after its begin."""

    submitted: int = 0
    status: Counter[str] = field(default_factory=Counter[str])
    """Jobs by their outcome's status; ``refused``: Kafka did not take them; ``unanswered``: none came in time."""
    errors: Counter[str] = field(default_factory=Counter[str])
    """What went wrong, the first words of it, and how often."""
    latencies: Latencies = field(default_factory=Latencies)
    """Of jobs that succeeded."""
    late: Latencies = field(default_factory=Latencies)
    """How long after they were due jobs were submitted: what is this program's own doing."""
    seconds: list[Second] = field(default_factory=list[Second])
    halves: tuple[StageSums, StageSums] = field(default_factory=lambda: (StageSums(), StageSums()))
    """Of jobs due in the first and in the second half: what grows shows who does not keep up."""
    rows: int = 0
    """Of jobs that succeeded."""
    first_due: float = 0.0
    last_back: float = 0.0

    def back(self, at: float, due: float, status: str, rows: int) -> None:
        """The outcome of a job that was due at ``due`` was here at ``at``."""
        self.status[status] += 1
        self.last_back = max(self.last_back, at)
        if status != "succeeded":
            return
        self.rows += rows
        self.latencies.add(at - due)
        while len(self.seconds) <= int(at):
            self.seconds.append(Second())
        second = self.seconds[int(at)]
        second.back += 1
        second.latencies.add(at - due)

    def look_into(self, outcome: Outcome, rows: int, seconds: float, *, second_half: bool) -> None:
        """Take an outcome's timings in."""
        self.halves[second_half].add(outcome, rows, seconds)

    @property
    def stages(self) -> StageSums:
        """Of all jobs."""
        return self.halves[0] + self.halves[1]

    @property
    def in_flight(self) -> int:
        return self.submitted - self.status.total()

    @property
    def rate(self) -> float:
        """Results a second, from when the first job was due until the last result was here."""
        spent = self.last_back - self.first_due
        return self.status["succeeded"] / spent if spent > 0 else 0.0

    def batch_rows(self) -> tuple[int, int]:
        """Median, over jobs, and largest batch; zeros where none was told."""
        sizes: Sequence[int] = sorted(self.stages.batch_rows)
        return (sizes[len(sizes) // 2], sizes[-1]) if sizes else (0, 0)
