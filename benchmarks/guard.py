"""Owns the guard: ``python -m benchmarks.guard`` compares the fleet with a bare echo of the same jobs, and with what it was.

Short, so that every run of CI has it, and so it only warns: on a machine that others use as well the ratio differs by a tenth
from run to run. ``--record`` adds the run to ``benchmarks/history.jsonl``, which is what later runs are compared with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.processes import ROOT
from benchmarks.results import machine, middle, ratios
from benchmarks.rounds import compare
from benchmarks.site import open_site
from benchmarks.works import WORKS

HISTORY: Final = Path(__file__).parent / "history.jsonl"
_OURS: Final = ("parent", "engine", "projector")
_SHOWN: Final = 10
_TOLERANCE: Final = 0.85
"""A ratio below this part of the usual one is worth a look."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=150_000)
    parser.add_argument("--record", action="store_true", help=f"add this run to {HISTORY.name}")
    options = parser.parse_args()
    run = measure(options.rounds, options.jobs)
    before = [json.loads(line) for line in HISTORY.read_text().splitlines()] if HISTORY.exists() else []
    print("\n" + table([*before[-_SHOWN:], run]))
    print(verdict(run, before[-_SHOWN:]))
    if options.record:
        with HISTORY.open("a") as file:
            file.write(json.dumps(run) + "\n")


def measure(rounds: int, jobs: int) -> dict[str, Any]:
    """The fleet's rate to the echo's, and the CPU time that our processes need for a job, in µs; medians over rounds."""
    with tempfile.TemporaryDirectory(prefix="penstock-guard-") as name, open_site(Path(name)) as site:
        found = compare(site, WORKS["mlp"], ["echo", "fleet"], rounds, jobs)
    each = sorted(ratios(found["fleet"], found["echo"]))
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    ours = sum(middle(found["fleet"], "cpu_us", role) for role in _OURS)
    return {
        **{name: machine()[name] for name in ("when", "cores")},
        "commit": git.stdout.strip(),
        "ratio": round(median(each), 3),
        "rounds": [round(one, 3) for one in each],
        "fleet": round(middle(found["fleet"], "per_second")),
        "echo": round(middle(found["echo"], "per_second")),
        "cpu_us": round(ours, 2),
    }


def table(runs: Sequence[dict[str, Any]]) -> str:
    """The history, the last of it this run's."""
    lines = ["when                       commit     fleet/echo  fleet jobs/s  echo /s    our CPU µs a job"]
    lines += [
        f"{run['when']:<27}{run['commit']:<11}{run['ratio']:<12.2f}{run['fleet']:<14,}{run['echo']:<11,}{run['cpu_us']:.1f}"
        for run in runs
    ]
    return "\n".join(lines)


def verdict(run: dict[str, Any], before: Sequence[dict[str, Any]]) -> str:
    """Whether this run is worth a look; nothing to compare it with is not."""
    usual = median(one["ratio"] for one in before) if before else run["ratio"]
    if run["ratio"] < _TOLERANCE * usual:
        return f"warning: the fleet did {run['ratio']:.2f} of the echo, usually {usual:.2f}: has something made it slower?"
    return f"the fleet did {run['ratio']:.2f} of the echo, usually {usual:.2f}"


if __name__ == "__main__":
    main()
