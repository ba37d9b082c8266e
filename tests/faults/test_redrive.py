"""Dead letters are mended and redriven by a command that is killed again and again: each job goes once, and succeeds."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from tests.faults.deck import Fault
from tests.faults.harness import Fleet
from tests.faults.jobs import Kind, make_jobs
from tests.faults.life import Life
from tests.faults.redrives import HOOK, adopt
from tests.faults.run import ROUNDS, SEED, SOAK, conclude, options
from tests.faults.schedule import Step
from tests.faults.subjects import REDRIVE
from tests.integration.cli import killed_redrive
from tests.integration.cli.dead_letters import environment

from penstock.cli.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support import MakeTopics, SettingsFactory

    from penstock_schemas.settings import Settings

MEMBERS: Final = ("worker-1", "worker-2", "projector-1")
KINDS: Final[Mapping[Kind, float]] = {
    Kind.ORDINARY: 60,
    Kind.HEADED: 5,
    Kind.REFUSED: 20,
    Kind.NAN_OUTPUT: 20,
    Kind.NO_MEMORY: 2,
    Kind.CRASHES: 0.2,
}
"""Kinds of which a record comes to succeed when it is mended, and some that succeed anyway."""
JOBS: Final = 400
STEPS: Final = ("begun", "produced", "sent", "committed")
KILLS: Final = 3 if SOAK else 1
ARGUMENTS: Final = ("dead", "redrive", "--yes", "--rate", "60/s", "--edit")
"""Sixty letters in a transaction, so that there are some."""
WITHIN: Final = 60.0


class Operator:
    """Who redrives, in vain at first."""

    def __init__(self, chosen: Settings, folder: Path, life: Life) -> None:
        self._environment = environment(chosen)
        self._folder = folder
        self._life = life
        self._hook = folder / "mend.py"
        self._hook.write_text(HOOK)

    def redrive(self, step: str, transaction: int) -> int:
        """Run the command, which dies at ``step`` of one of its transactions if it comes to it; its exit status."""
        argv = [sys.executable, killed_redrive.__file__, step, str(transaction), *ARGUMENTS, str(self._hook)]
        with (self._folder / "redrives.log").open("a") as log:
            running = subprocess.Popen(argv, cwd=self._folder, env=self._environment, stdout=log, stderr=log)
        try:
            self._life.until(lambda: running.poll() is not None, "the redrive has ended", WITHIN)
        finally:
            running.kill()
            code = running.wait()
        return code


@pytest.mark.soak
@pytest.mark.timeout(1800 if SOAK else 200)
def test_a_redrive_that_is_killed_sends_each_letter_once(
    settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path
) -> None:
    chosen = settings(**options(tmp_path))
    make_topics(chosen)
    random = Random(SEED)
    jobs = make_jobs(SEED, 10**6, KINDS, repeated=0.0)
    with Fleet(chosen, tmp_path) as fleet, Life(fleet, SEED) as life:
        operator = Operator(chosen, tmp_path, life)
        life.begin(MEMBERS)
        for number in range(ROUNDS):
            life.submit(islice(jobs, JOBS))
            life.flush()
            life.rest()
            for _ in range(KILLS):
                life.submit(islice(jobs, 50))
                step, transaction = random.choice(STEPS), random.randint(1, 2)
                code = operator.redrive(step, transaction)
                fleet.say(f"redrive ended with {code} ({step} of transaction {transaction})")
                if code == -signal.SIGKILL:
                    life.recoveries.add(REDRIVE, life.accepted)
            life.do(Step(0.0, Fault.KILL_WORKER, f"worker-{number + 1}"))
            fleet.add(f"worker-{number + 3}")
            assert operator.redrive("none", 0) in (0, ExitCode.NOT_THERE)
            life.rest()
        adopt(life)
        verdict = conclude(fleet, life)
    assert any(told.outcome.generation == 1 for told in verdict.account.told)
