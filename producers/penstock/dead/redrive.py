"""Owns a redrive from end to end: letters are read once more, decided on in batches, and sent, or only counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from penstock.dead.filters import Filter
from penstock.dead.histogram import Histogram
from penstock.dead.letters import DeadLetter
from penstock.dead.marks import REDRIVEN, SEEN, Marks
from penstock.dead.outcomes import Results, current_standings
from penstock.dead.plan import REASONS, Job, Left, Planner, Reason
from penstock.dead.reading import DeadTopic
from penstock_schemas.names import Names

BATCH: Final = 500
"""Most letters in one transaction. What reads the jobs topic waits for its end, so it is short."""
BATCH_BYTES: Final = 8 * 1024 * 1024
EXAMPLES: Final = 3
"""How many letters are named for each reason."""

Send = Callable[[Sequence[Job]], None]


@dataclass(slots=True)
class Tally:
    """What a redrive did, or would do: the letters that go, and those that do not, by reason."""

    going: Histogram = field(default_factory=Histogram)
    left: Counter[Reason] = field(default_factory=Counter[Reason])
    examples: dict[Reason, list[Left]] = field(default_factory=dict[Reason, list[Left]])
    mended: int = 0
    example: Job | None = None
    """The first one that is mended."""
    unmended: Counter[str] = field(default_factory=Counter[str])
    """Jobs that go as they are, by the code of their failure."""
    new: Counter[str] = field(default_factory=Counter[str])
    """Fields that were set and had not been there, by path: in how many jobs."""

    @property
    def matched(self) -> int:
        """How many letters the filter chose."""
        return self.going.letters + self.left.total()

    @property
    def all_done(self) -> bool:
        """Whether nothing is left to do: what the filter chose was redriven before."""
        return bool(self.left[Reason.REDRIVEN]) and self.left.keys() <= {Reason.REDRIVEN, Reason.REPEAT}

    def leave(self, left: Left) -> None:
        self.left[left.reason] += 1
        examples = self.examples.setdefault(left.reason, [])
        if len(examples) < EXAMPLES:
            examples.append(left)

    def go(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.going.add(job.letter)
            self.mended += job.changed
            if job.changed:
                self.example = self.example or job
            else:
                self.unmended[job.letter.code] += 1
            self.new.update(job.new)

    def left_lines(self) -> list[str]:
        """Why letters do not go, for a person."""
        lines: list[str] = []
        for reason, count in self.left.most_common():
            lines.append(f"  {count:>9,}  {REASONS[reason]}")
            lines += [
                f"             {left.letter.id or left.letter.identity}: {left.detail}"
                for left in self.examples[reason]
                if left.detail
            ]
        return lines


class Pace:
    """Spreads what is sent over time: at most ``rate`` jobs a second, None: no limit."""

    def __init__(
        self, rate: float | None, *, wait: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._wait = wait
        self._clock = clock
        self._next = clock()

    @property
    def batch(self) -> int:
        """Most jobs to send at a time, so that a second holds at least one transaction."""
        return BATCH if self._rate is None else max(1, min(BATCH, int(self._rate)))

    def take(self, jobs: int) -> None:
        """Wait until ``jobs`` more may be sent."""
        now = self._clock()
        if self._rate is None:
            return
        if self._next > now:
            self._wait(self._next - now)
        self._next = max(self._next, now) + jobs / self._rate


@dataclass(slots=True)
class Redrive:
    """One redrive. ``results`` None: whatever Redis says. ``between`` may raise to end it; what is committed stays so.

    ``send`` None: nothing is sent, all is decided as if it were.
    """

    topic: DeadTopic
    chosen: Filter
    planner: Planner
    names: Names
    results: Results | None
    pace: Pace
    send: Send | None = None
    limit: int | None = None
    between: Callable[[], None] = lambda: None
    told: Callable[[Tally], None] = lambda _: None
    tally: Tally = field(default_factory=Tally)
    marks: Marks = field(default_factory=Marks)

    def run(self) -> Tally:
        """Read, decide, send. Raises what reading and sending raise, and StoreUnavailable or StoreRefused."""
        self.topic.mark_redriven(self.marks, self.chosen.since_ms)
        for batch in self._batches():
            jobs = self._decide(batch)
            if jobs and self.send is not None:
                self.pace.take(len(jobs))
                self.between()
                self.send(jobs)
            self.tally.go(jobs)
            self.told(self.tally)
            if self.limit is not None and self.tally.going.letters >= self.limit:
                break
        return self.tally

    def _batches(self) -> Iterator[list[DeadLetter]]:
        """Letters that may go as far as they alone can tell, in batches of bounded number and size."""
        batch: list[DeadLetter] = []
        size = 0
        for letter in self.topic.letters(self.chosen):
            if not self._may_go(letter):
                continue
            most = self.pace.batch if self.limit is None else min(self.pace.batch, self.limit - self.tally.going.letters)
            if batch and (len(batch) >= most or size + letter.size > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(letter)
            size += letter.size
        if batch:
            yield batch

    def _may_go(self, letter: DeadLetter) -> bool:
        """Whether the letter is to be decided on; else it is counted, or it was not meant."""
        held = self.marks.of(letter.job)
        if self.chosen.redriven is not None and self.chosen.redriven is not bool(held & REDRIVEN):
            return False
        reason = self.planner.refuse(letter)
        if reason is None and held & REDRIVEN and not self.planner.rules.again:
            reason = Reason.REDRIVEN
        if held & SEEN or self.marks.of(letter.identity) & SEEN:
            reason = Reason.REPEAT
        if reason is not None:
            self._leave(Left(letter, reason, self.planner.detail(letter, reason)))
        return reason is None

    def _decide(self, batch: Sequence[DeadLetter]) -> list[Job]:
        """The jobs of those that go; the others are counted."""
        jobs: list[Job] = []
        for letter, detail in zip(batch, self._contradictions(batch), strict=True):
            planned = self._planned(letter, detail)
            if isinstance(planned, Left):
                self._leave(planned)
            else:
                jobs.append(planned)
                # One entry a letter: by its job where that goes, and by its own identity where it does not. Another attempt
                # of a job that did not go may still be the one that its result tells of.
                self.marks.put(letter.job, SEEN)
        return jobs

    def _planned(self, letter: DeadLetter, contradiction: str | None) -> Job | Left:
        if self.marks.of(letter.job) & SEEN or self.marks.of(letter.identity) & SEEN:
            return Left(letter, Reason.REPEAT)  # of one in the same batch
        if contradiction is not None:
            return Left(letter, Reason.OUTCOME, contradiction)
        return self.planner.plan(letter, time.time_ns() // 1_000_000)

    def _leave(self, left: Left) -> None:
        self.tally.leave(left)
        if left.reason is not Reason.REPEAT:
            self.marks.put(left.letter.identity, SEEN)

    def _contradictions(self, batch: Sequence[DeadLetter]) -> list[str | None]:
        """What Redis says of each instead of this failure; None where it agrees, or says nothing any more."""
        if self.results is None:
            return [None] * len(batch)
        standings = current_standings(self.results, self.names, [letter.id or "" for letter in batch])
        return [
            None
            if standing is None or standing.is_failure_of(letter)
            else f"{standing.status}{f' ({standing.code})' if standing.code else ''}, generation {standing.generation}"
            for letter, standing in zip(batch, standings, strict=True)
        ]
