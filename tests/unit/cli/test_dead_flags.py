"""What the flags of `penstock dead` mean, and what they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from penstock.cli.common import printable
from penstock.cli.dead_redrive import parse_deadline, parse_rate
from penstock.cli.exits import CommandError, Interrupted
from penstock.cli.interrupts import StopRequests


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["redrive", "--rate", "fast"],
        ["redrive", "--deadline", "soon"],
        ["redrive", "--set", "model_version"],
        ["redrive", "--edit", "missing.py"],
        ["redrive", "--max-generation", "0"],
        ["list", "--limit", "0"],
        ["export"],
        ["show"],
    ],
)
def test_wrong_use_ends_with_2_before_anything_is_asked(arguments: list[str]) -> None:
    argv = [sys.executable, "-m", "penstock", "dead", *arguments]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
