"""The program `penstock` itself: what it loads, its exit codes, its help."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from penstock.cli.exits import CommandError, ExitCode, Interrupted, told_errors
from penstock.errors import DeliveryFailed, InvalidJob, JobFailed, ResultsUnavailable, ResultTimeout
from penstock.local.errors import LocalMissing
from penstock.topics import KafkaUnreachable
from penstock_schemas.outcomes import Outcome
from penstock_schemas.settings import load_settings


def code_of(error: BaseException) -> int:
    with pytest.raises(typer.Exit) as raised, told_errors():
        raise error
    return raised.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobFailed(Outcome("a", "failed")), 1),
        (InvalidJob("x"), 2),
        (ResultTimeout("a", 1.0), 3),
        (CommandError(ExitCode.NOT_THERE, "x"), 3),
        (ResultsUnavailable("x"), 4),
        (DeliveryFailed({"a": "x"}), 4),
        (LocalMissing("x"), 4),
        (KafkaUnreachable("x"), 4),
        (KeyboardInterrupt(), 130),
        (Interrupted(15), 143),
    ],
)
def test_errors_end_with_their_documented_code(error: BaseException, code: int) -> None:
    assert code_of(error) == code


def test_a_wrong_setting_is_told_by_key_value_and_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised, told_errors():
        load_settings(worker={"window": 1}, kafka={"nonsense": 3})
    assert raised.value.exit_code == 2
    said = capsys.readouterr().err
    assert "worker.window: Input should be greater than or equal to 2 (it is 1)" in said
    assert "kafka.nonsense: there is no such key" in said


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), told_errors():
        raise ZeroDivisionError


def test_help_loads_nothing_that_takes_time() -> None:
    """So it answers at once: what takes long is loading numpy, pydantic, confluent-kafka and redis."""
    script = (
        "import sys, json\nsys.argv = ['penstock', '--help']\nfrom penstock.cli import main\n"
        "try: main()\nexcept SystemExit: print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert "typer" in loaded
    assert (
        loaded & {"numpy", "pydantic", "pydantic_settings", "confluent_kafka", "redis", "orjson", "tensorflow", "asyncio"}
        == set()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["submit"],
        ["up", "--kafka", "other"],
        ["up", "--model", "nothing"],
        ["config", "--config", "/no/such.toml"],
    ],
)
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    run = subprocess.run([sys.executable, "-m", "penstock", *arguments], capture_output=True, text=True, check=False)
    assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
    assert run.stderr
