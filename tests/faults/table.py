"""Owns the table of trials in docs/reliability.md: ``python -m tests.faults.table RECORD [PAGE]`` writes it there."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

from tests.faults.subjects import SUBJECTS
from tests.faults.trials import Record, Trial, commit, read, valid

BEGIN: Final = "<!-- trials: written by `make reliability`, not by hand -->"
END: Final = "<!-- end of trials -->"
PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_HEAD: Final = (
    "| fault | trials | clean | jobs | recovery: median | worst | commits |",
    "|---|---:|---:|---:|---:|---:|---|",
)


def table(trials: Iterable[Trial]) -> str:
    """A line for each fault, in the order of their names; recovery in seconds from the fault's end."""
    by_fault = defaultdict[str, list[Trial]](list)
    for trial in trials:
        by_fault[trial.fault].append(trial)
    lines = [_line(fault, many) for fault, many in sorted(by_fault.items())]
    every = [trial for many in by_fault.values() for trial in many]
    clean = sum(trial.clean for trial in every)
    lives = {(trial.seed, trial.commit): trial for trial in every}.values()
    jobs, paid = sum(life.jobs for life in lives), sum(life.paid for life in lives)
    told = f"{len(every)} trials, {clean} of them clean, in {len(lives)} fleets' lives of {jobs:,} jobs."
    price = f"{paid} jobs paid a try, or ended as a crash, because we ended their engine or worker while they ran alone."
    return "\n".join([*_HEAD, *lines, "", told, price])


def put(page: str, text: str) -> str:
    """``page`` with ``text`` between the marks. Raises ValueError where it has none."""
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"the page must hold {BEGIN!r} and, after it, {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _line(fault: str, trials: list[Trial]) -> str:
    recovered = sorted(trial.recovery for trial in trials if trial.recovery is not None and trial.clean)
    times = (f"{median(recovered):.1f} s", f"{recovered[-1]:.1f} s") if recovered else ("", "")
    jobs = sum({(trial.seed, trial.commit): trial.jobs for trial in trials}.values())
    commits = ", ".join(sorted({trial.commit for trial in trials}))
    cells = [fault, str(len(trials)), str(sum(trial.clean for trial in trials)), f"{jobs:,}", *times, commits]
    return f"| {' | '.join(cells)} |"


def _valid(found: Record, tested: str) -> list[Trial]:
    """Those that tell of the commit ``tested``."""
    told: dict[int, Trial] = {}
    for subject in SUBJECTS:
        for trial in valid(found, tested, subject.paths):
            if trial.fault in subject.faults or trial.fault.endswith(subject.test):
                told[id(trial)] = trial
    return list(told.values())


def main(arguments: list[str]) -> int:
    """Write the table of the record that is named into the page."""
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write("usage: python -m tests.faults.table RECORD [PAGE]\n")
        return 2
    page = Path(arguments[1]) if len(arguments) > 1 else PAGE
    page.write_text(put(page.read_text(), table(_valid(read(Path(arguments[0])), commit()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
