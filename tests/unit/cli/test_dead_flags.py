"""What the flags of `penstock dead` mean, and what they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.dead.letters import TIME_MS, body, letter

from penstock.cli.common import printable
from penstock.cli.dead import RedriveFlags
from penstock.cli.dead_redrive import News, parse_deadline, parse_rate
from penstock.cli.exits import CommandError, Interrupted
from penstock.cli.interrupts import StopRequests
from penstock.dead.mending import Mender
from penstock.dead.paths import parse_assignment
from penstock.dead.plan import Job, Left, Planner, Reason, Rules
from penstock.dead.redrive import Tally
from penstock_schemas.errors import ErrorCode, JobError


@pytest.mark.parametrize(
    ("text", "rate"), [(None, None), ("50/s", 50.0), ("50", 50.0), ("90/m", 1.5), ("1.5/s", 1.5), ("36/h", 0.01)]
)
def test_rates(text: str | None, rate: float | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0/s", "fast", "-1/s", "5/d", "1e9"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(CommandError, match="--rate"):
        parse_rate(text)


def test_deadlines() -> None:
    assert (parse_deadline(None), parse_deadline("none"), parse_deadline("90")) == (None, "none", 90.0)
    for text in ("", "0", "-5", "soon", "nan", "inf"):
        with pytest.raises(CommandError, match="--deadline"):
            parse_deadline(text)


def test_what_jobs_say_does_nothing_to_a_terminal() -> None:
    assert printable("plain é") == "plain é"
    assert printable("\x1b[2Jgone\x9b\n") == " [2Jgone  "


def test_a_signal_ends_work_between_two_steps_and_a_second_one_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            stop.wait(60)
        assert caught.value.number == signal.SIGTERM
        with pytest.raises(Interrupted):
            stop.check()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_redrive_says_counts_in_words_that_fit_the_number_and_names_new_fields() -> None:
    news = News(sending=False, checked=True)
    mender = Mender([parse_assignment("inputs[0].nosuch.deep=1"), parse_assignment('model_version="2"')])
    planner = Planner(Rules(frozenset({"penstock.jobs"})), mender)
    jobs = [planner.plan(letter(str(number), body(model_version="1"), offset=number), TIME_MS) for number in range(3)]
    news.tally.go([one for one in jobs if isinstance(one, Job)])
    news.tally.leave(Left(letter("x"), Reason.REDRIVEN))
    said = news.summary()
    assert said[:2] == [
        "3 letters would be redriven, 3 of them mended; 1 left as it is",
        "3 of them had no field inputs[0].nosuch.deep before: it is new",
    ]
    assert not any("had no field model_version" in line for line in said)
    example = said[said.index("mended, for example 0") + 1 :]
    assert {'  -  "model_version": "1",', '  +  "model_version": "2",'} <= set(example[: example.index("")])
    assert "          1  redriven before (--again sends once more)" in said
    assert said[-2].startswith("what is mended is a valid job by the contract")
    assert said[-1] == "nothing was sent: add --yes to send"
    assert not any("by the contract" in line for line in News(sending=True, checked=True).summary())


def planned(*planners: Planner, **more: Any) -> News:
    """What is said before letters go: one letter for each of ``planners``."""
    news = News(sending=False, checked=True, **more)
    for number, planner in enumerate(planners):
        dead = letter(str(number), body(model_version="9"), offset=number, error=JobError(ErrorCode.UNKNOWN_VERSION, "no"))
        job = planner.plan(dead, TIME_MS)
        assert isinstance(job, Job)
        news.tally.go([job])
    return news


def test_what_would_fail_again_and_what_goes_unfiltered_is_told_before_anything_goes() -> None:
    rules = Rules(frozenset({"penstock.jobs"}))
    mending = Planner(rules, Mender([parse_assignment('model_version="2"')]))
    news = planned(Planner(rules), mending, mends=True)
    news.all_letters = True
    said = news.summary()
    assert said[0] == "2 letters would be redriven, 1 of them mended; 0 left as they are"
    assert "no filter was given: these are all letters of the fleet" in said
    assert "not mended: what failed with unknown_version fails again, unless models or settings have changed" in said
    said = planned(mending).summary()
    assert not any(line.startswith(("no filter", "not mended")) for line in said)
    said = planned(Planner(rules, Mender([], lambda one: one.value)), mends=True).summary()
    assert said[0] == "1 letter would be redriven, 0 of them mended; 0 left as they are"


def test_a_change_beyond_what_is_shown_and_a_very_long_one_are_told_in_few_lines() -> None:
    rules = Rules(frozenset({"penstock.jobs"}))
    far = planned(Planner(rules, Mender([], lambda one: one.value + b"\x00")), mends=True)
    assert far.tally.mended == 1
    fields = {f"field{n}": n for n in range(100)}
    long = planned(Planner(rules, Mender([], lambda one: one.replaced({**one.document(), **fields}))), mends=True).summary()
    assert sum(line.startswith("  +") for line in long) <= 40
    assert any(line.endswith("more lines") for line in long)


def test_a_redrive_of_what_went_before_is_done_and_one_that_cannot_go_is_not() -> None:
    tally = Tally()
    assert not tally.all_done
    tally.leave(Left(letter("x"), Reason.REDRIVEN))
    tally.leave(Left(letter("x"), Reason.REPEAT))
    assert tally.all_done
    tally.leave(Left(letter("y"), Reason.OUTCOME))
    assert not tally.all_done


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, ""),
        ({"reason": "why"}, "why"),
        ({"assignments": ["a=1", "b=2"]}, "--set a=1, --set b=2"),
        ({"reason": "why", "edit": Path("x/mend.py")}, "why (--edit mend.py)"),
        ({"assignments": [f"a={'1' * 600}"]}, f"--set a={'1' * 491}…"),
    ],
)
def test_what_was_done_to_bodies_is_kept_with_the_reason(given: dict[str, Any], kept: str) -> None:
    flags: dict[str, Any] = {"execute": True, "rate": None, "limit": None, "edit": None, "assignments": [], "deadline": None}
    flags |= {"max_generation": 3, "again": False, "force": False, "unchecked": False, "reason": ""}
    assert RedriveFlags(**flags | given).record() == kept


@pytest.mark.parametrize(
    "arguments",
    [
        ["redrive", "--rate", "fast"],
        ["redrive", "--deadline", "soon"],
        ["redrive", "--set", "model_version"],
        ["redrive", "--edit", "missing.py"],
        ["redrive", "--max-generation", "0"],
        ["redrive", "--yes", "--dry-run"],
        ["redrive", "--reason", "x" * 501],
        ["list", "--limit", "0"],
        ["list", "--newest", "0"],
        ["list", "--newest", "2", "--limit", "2"],
        ["stats", "--by", "nonsense"],
        ["export"],
        ["show"],
    ],
)
def test_wrong_use_ends_with_2_before_anything_is_asked(arguments: list[str]) -> None:
    argv = [sys.executable, "-m", "penstock", "dead", *arguments]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
