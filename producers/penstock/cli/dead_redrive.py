"""Owns `penstock dead redrive`: what its flags mean, and what it says before, meanwhile and afterwards."""

from __future__ import annotations

import getpass
import re
import socket
import time
from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Literal

import typer

from penstock.cli.common import Flags, note, printable, read_settings
from penstock.cli.dead import RedriveFlags
from penstock.cli.dead_reading import note_withheld
from penstock.cli.exits import CommandError, ExitCode, Interrupted
from penstock.cli.interrupts import StopRequests
from penstock.dead.bodies import changed_lines, shown_lines
from penstock.dead.filters import Filter
from penstock.dead.histogram import counted
from penstock.dead.mending import Checker, Mender, load_hook
from penstock.dead.paths import parse_assignment
from penstock.dead.plan import Planner, Rules
from penstock.dead.reading import DeadTopic, NoDeadTopic
from penstock.dead.redrive import Pace, Redrive, Send, Tally
from penstock.dead.sending import Fenced, Redriver
from penstock.topics import KafkaUnreachable, TopicRefused
from penstock.transports import StoreRefused, StoreUnavailable
from penstock.transports.redis import RedisStore
from penstock_schemas.errors import ErrorCode
from penstock_schemas.limits import Limits

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

_RATE: Final = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(?:/([smh]))?", re.ASCII)
_UNIT: Final = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_CHANGED: Final = 40
"""Most lines of an example that are shown."""
_THE_JOBS_OWN: Final = frozenset(
    {
        ErrorCode.INVALID_JOB,
        ErrorCode.INVALID_INPUT,
        ErrorCode.NON_FINITE_INPUT,
        ErrorCode.UNKNOWN_MODEL,
        ErrorCode.UNKNOWN_VERSION,
        ErrorCode.UNKNOWN_SIGNATURE,
        ErrorCode.UNKNOWN_OUTPUT,
    }
)
"""Codes of failures by what the job itself says."""
_NEWS_SECONDS: Final = 5.0
"""How often a long redrive says how far it is, in seconds."""


def redrive_letters(flags: Flags, chosen: Filter, asked: RedriveFlags) -> None:
    """Send, or say what would be sent. Raises CommandError: 3 where no letter goes, 2 for wrong flags, 4 for services."""
    pace, deadline, mender = parse_rate(asked.rate), parse_deadline(asked.deadline), _mender(asked)
    settings = read_settings(flags)
    if settings.kafka.embedded:
        raise CommandError(ExitCode.WRONG_USE, "the embedded broker has no transactions, so nothing can be redriven there")
    news = News(sending=asked.execute, checked=not asked.force, mends=bool(asked.assignments or asked.edit))
    news.all_letters = chosen == Filter()
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequests())
        try:
            send = _send(settings, asked.record(), stack, stop) if asked.execute else None
            results = None if asked.unchecked else _results(settings, stack)
            topic = stack.enter_context(DeadTopic(settings, between=stop.check))
            planner = _planner(settings, asked, deadline, mender, topic.jobs_topics)
            redrive = Redrive(topic, chosen, planner, settings.names, results, Pace(pace, wait=stop.wait))
            redrive.send, redrive.limit, redrive.between = send, asked.limit, stop.check
            redrive.told, redrive.tally = news.tell, news.tally
            redrive.run()
            note_withheld(topic)
        except Interrupted:
            note("\n".join(["", *news.summary(broken_off=True)]))
            raise
        except NoDeadTopic as error:
            raise CommandError(ExitCode.NOT_THERE, str(error)) from error
        except (StoreUnavailable, StoreRefused) as error:
            advice = "what became of the jobs since is not known; --unchecked redrives without asking"
            raise news.ended(ExitCode.UNREACHABLE, f"{error}: {advice}") from error
        except (KafkaUnreachable, TopicRefused) as error:
            raise news.ended(ExitCode.UNREACHABLE, str(error)) from error
        except Fenced as error:
            raise news.ended(ExitCode.WRONG_USE, str(error)) from error
    if not news.tally.matched:
        raise CommandError(ExitCode.NOT_THERE, "no letter matches")
    typer.echo("\n".join(news.summary()))
    if not news.tally.going.letters and not news.tally.all_done:
        raise CommandError(ExitCode.NOT_THERE, "letters match, and none of them can go: the lines above say why")


class News:
    """What is said of a redrive: how far it is now and then, and all of it at its end."""

    def __init__(self, *, sending: bool, checked: bool, mends: bool = False) -> None:
        """``checked``: mended bodies are held against the contract. ``mends``: something is to be done to bodies at all."""
        self.tally = Tally()
        self.all_letters = False
        """Whether every letter of the fleet is meant."""
        self._sending = sending
        self._checked = checked
        self._mends = mends
        self._next = time.monotonic() + _NEWS_SECONDS

    def tell(self, tally: Tally) -> None:
        """Say how far it is, if the last word is some seconds old."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _NEWS_SECONDS
            verb = "redriven" if self._sending else "would go"
            note(f"{tally.matched:,} letters looked at, {tally.going.letters:,} {verb}")

    def summary(self, *, broken_off: bool = False) -> list[str]:
        """All of it."""
        tally = self.tally
        verb = "redriven" if self._sending else "would be redriven"
        mended = f", {tally.mended:,} of them mended" if tally.mended or self._mends else ""
        left = tally.left.total()
        stay = "1 left as it is" if left == 1 else f"{left:,} left as they are"
        lines = [f"{counted(tally.going.letters, 'letter')} {verb}{mended}; {stay}", *self._new_fields(), ""]
        if tally.going.letters:
            lines += [verb, *(f"  {line}" for line in tally.going.lines()[:-1])]
        if tally.left:
            lines += ["left as they are", *tally.left_lines(), ""]
        if not self._sending:
            lines += [*self._example(), *self._doubts()]
        if broken_off and self._sending:
            lines.append("broken off: what is counted as redriven is sent; the same command goes on with the rest")
        elif broken_off:
            lines.append("broken off: nothing was sent")
        elif not self._sending and tally.going.letters:
            if tally.mended and self._checked:
                lines.append("what is mended is a valid job by the contract; whether the model takes it, only a try will tell")
            lines.append("nothing was sent: add --yes to send")
        return [printable(line.rstrip()) for line in lines]

    def _example(self) -> list[str]:
        """What mending does to the first body that it changes."""
        job = self.tally.example
        if job is None:
            return []
        before, after = shown_lines(job.letter.body, job.letter.own), shown_lines(job.value, job.headers)
        lines = changed_lines(before, after)
        more = [f"  … {len(lines) - _MOST_CHANGED:,} more lines"] if len(lines) > _MOST_CHANGED else []
        return [f"mended, for example {job.letter.id}", *(f"  {line}" for line in lines[:_MOST_CHANGED]), *more, ""]

    def _doubts(self) -> list[str]:
        """What may not have been meant."""
        doubts = ["no filter was given: these are all letters of the fleet"] if self.all_letters else []
        same = [code for code in sorted(self.tally.unmended) if code in _THE_JOBS_OWN]
        if same:
            doubts.append(f"not mended: what failed with {', '.join(same)} fails again, unless models or settings have changed")
        return doubts

    def _new_fields(self) -> list[str]:
        """What --set has made, which may have been a slip of the pen."""
        return [f"{count:,} of them had no field {path} before: it is new" for path, count in self.tally.new.most_common()]

    def ended(self, code: ExitCode, message: str) -> CommandError:
        """Say what was done until then; the error to raise."""
        if self.tally.matched:
            note("\n".join(self.summary(broken_off=True)))
        return CommandError(code, message)


def parse_rate(text: str | None) -> float | None:
    """Jobs a second. Raises CommandError for what is no rate."""
    if text is None:
        return None
    found = _RATE.fullmatch(text)
    if found is None or not float(found[1]):
        raise CommandError(ExitCode.WRONG_USE, f"--rate {text!r} must be a number of jobs a second, or such as 50/s or 100/m")
    return float(found[1]) / _UNIT[found[2]]


def parse_deadline(text: str | None) -> float | Literal["none"] | None:
    """Seconds, or ``none``. Raises CommandError for what is neither."""
    if text is None:
        return None
    if text == "none":
        return "none"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise CommandError(ExitCode.WRONG_USE, f"--deadline {text!r} must be none, or seconds from now")
    return seconds


def _mender(asked: RedriveFlags) -> Mender:
    try:
        assignments = [parse_assignment(text) for text in asked.assignments]
        return Mender(assignments, None if asked.edit is None else load_hook(asked.edit))
    except ValueError as error:
        raise CommandError(ExitCode.WRONG_USE, str(error)) from error


def _send(settings: Settings, reason: str, stack: ExitStack, stop: StopRequests) -> Send:
    """A redriver that is open. Before letters are read: what an earlier one had begun must be settled by then."""
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    redriver = Redriver(settings, by=by, reason=reason, between=stop.check)
    stack.callback(redriver.close)
    redriver.open()
    return redriver.send


def _results(settings: Settings, stack: ExitStack) -> RedisStore:
    results = RedisStore(settings.redis.url, timeout=settings.redis.timeout)
    stack.callback(results.close)
    return results


def _planner(
    settings: Settings,
    asked: RedriveFlags,
    deadline: float | Literal["none"] | None,
    mender: Mender,
    topics: Collection[str],
) -> Planner:
    rules = Rules(
        topics=topics,
        max_generation=asked.max_generation,
        max_job_bytes=settings.topics.max_job_bytes,
        again=asked.again,
        force=asked.force,
        deadline=deadline,
    )
    limits = Limits(record_bytes=settings.topics.max_job_bytes, **settings.limits.model_dump())
    return Planner(rules, mender, Checker(limits))
