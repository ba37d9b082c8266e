"""What the flags of `penstock dead` mean, and what they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.unit.dead.letters import TIME_MS, body, letter

from penstock.cli.common import printable
from penstock.cli.dead_redrive import News, parse_deadline, parse_rate
from penstock.cli.exits import CommandError, Interrupted
from penstock.cli.interrupts import StopRequests
from penstock.dead.mending import Mender
from penstock.dead.paths import parse_assignment
from penstock.dead.plan import Job, Left, Planner, Reason, Rules


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
    assert not any("model_version" in line for line in said)
    assert "          1  redriven before (--again sends once more)" in said
    assert said[-2].startswith("what is mended is a valid job by the contract")
    assert said[-1] == "nothing was sent: add --yes to send"
    assert not any("by the contract" in line for line in News(sending=True, checked=True).summary())


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
