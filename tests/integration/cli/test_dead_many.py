"""Very many letters are listed, counted and redriven in bounded memory: a small sum a letter, however large the letters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.subjects import LETTERS
from tests.faults.trials import Trial, commit, record
from tests.integration.cli.dead_letters import environment, jobs_of, letter, write_letters

from penstock_schemas.settings import Settings

if TYPE_CHECKING:
    from tests.support import MakeTopics, SettingsFactory

MANY = int(os.environ.get("LETTERS", "1_000_000")) if os.environ.get("SOAK") else 20_000
ROOM = 48 * 1024 * 1024
"""What the client library may read ahead and hold in flight, whatever the number of letters."""
A_LETTER = 32
COMMANDS = (["list", "--json"], ["stats"], ["redrive"], ["redrive", "--yes"])


def peak_memory(settings: Settings, folder: Path, *arguments: str) -> int:
    """The largest resident set of `penstock dead …`, in bytes."""
    # Through a small process of its own: a child begins with the peak of the process that it comes from.
    measure = (
        "import os, sys; pid = os.posix_spawn(sys.executable, sys.argv[1:], os.environ); _, status, usage = os.wait4(pid, 0); "
        "print(usage.ru_maxrss, file=sys.stderr); sys.exit(os.waitstatus_to_exitcode(status))"
    )
    argv = [sys.executable, "-c", measure, sys.executable, "-m", "penstock", "dead", *arguments]
    with (folder / "output").open("wb") as output:
        done = subprocess.run(argv, env=environment(settings), stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1]) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.soak
@pytest.mark.timeout(3600 if os.environ.get("SOAK") else 300)
def test_many_letters_take_little_memory(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> None:
    few, many = settings(fleet=f"{settings().fleet}-few"), settings()
    for fleet, count in ((few, 10), (many, MANY)):
        make_topics(fleet)
        write_letters(fleet, (letter(f"j{number}", settings=fleet, offset=number) for number in range(count)))
    for arguments in COMMANDS:
        least = peak_memory(few, tmp_path, *arguments)
        began = time.monotonic()
        most = peak_memory(many, tmp_path, *arguments)
        told = f"{most / 2**20:.0f} MiB with {MANY:,} letters, {least / 2**20:.0f} MiB with 10"
        print(f"{' '.join(arguments)}: {told}; {time.monotonic() - began:.0f} s")  # noqa: T201
        assert most - least < ROOM + A_LETTER * MANY, arguments
    assert len(jobs_of(many)) == MANY
    if os.environ.get("SOAK"):
        record([Trial(LETTERS, int(os.environ.get("FAULTS_SEED", "0")), commit(), clean=True, jobs=MANY)])
