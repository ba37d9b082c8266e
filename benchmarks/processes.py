"""Owns what processes used: CPU and memory, by what each of them does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TICK: Final = os.sysconf("SC_CLK_TCK")
Pids = Mapping[str, int]


def family(pid: int) -> dict[str, int]:
    """A subject's processes by role: a worker's own, and its descendants', which their command lines tell."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, look = {"parent": pid}, [pid]
    while look:
        for child in parents.get(look.pop(), ()):
            look.append(child)
            role = _role(child)
            found[role if role not in found else f"{role} {child}"] = child
    return found


def _role(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return "child"
    return "engine" if "penstock_worker.engine" in command else "projector" if "penstock_worker" in command else "child"


def cpu_seconds(pids: Pids) -> dict[str, float]:
    """CPU time so far; of those that are still there."""
    used: dict[str, float] = {}
    for name, pid in pids.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used[name] = (int(fields[11]) + int(fields[12])) / TICK
    return used


def by_role(figures: Mapping[str, float]) -> dict[str, float]:
    """The sum over all processes of a role."""
    summed: dict[str, float] = {}
    for name, figure in figures.items():
        role = name.partition(" ")[0]
        summed[role] = summed.get(role, 0.0) + figure
    return summed


def cpu_us(before: Mapping[str, float], after: Mapping[str, float], jobs: float) -> dict[str, float]:
    """µs of CPU a job between two looks at :func:`cpu_seconds`, by role."""
    return by_role({name: (seconds - before.get(name, 0.0)) / jobs * 1e6 for name, seconds in after.items()})


def held_mb(pid: int) -> dict[str, float]:
    """What a subject's processes hold, by role, in MB of 2**20 bytes."""
    return by_role(rss_mb(family(pid)))


def rss_mb(pids: Pids) -> dict[str, float]:
    """Resident memory, in MB of 2**20 bytes."""
    sizes: dict[str, float] = {}
    for name, pid in pids.items():
        try:
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        except OSError:
            continue
        sizes[name] = int(lines["VmRSS"].split()[0]) / 1024
    return sizes


def last_line(argv: Sequence[str], given: bytes = b"") -> bytes:
    """The last line that a process printed, if any, which was ``given`` this. Raises RuntimeError where it failed."""
    ran = subprocess.run(argv, cwd=ROOT, input=given, capture_output=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {ran.returncode}: {ran.stderr.decode(errors='replace')[-2000:]}")
    return ran.stdout.splitlines()[-1] if ran.stdout else b""
