"""Owns the report: ``python -m benchmarks.report FOLDER`` writes what studies left in FOLDER into docs/performance.md.

All below the heading "Measured" there is written anew, with pictures in docs/performance/; what stands above it is left.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.goals import GOALS, Studies
from benchmarks.pictures import draw
from benchmarks.processes import ROOT
from benchmarks.results import Figures, Found, middle, ratios, slope
from benchmarks.works import WORKS

HEADING: Final = "\n## Measured\n"
PAGE: Final = ROOT / "docs" / "performance.md"


def main() -> None:
    folder = Path(sys.argv[1])
    files = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if not files:
        raise SystemExit(f"{folder} holds no study's file (*.json): `make bench-peers` makes them")
    studies = studies_of(files)
    pictures = draw(studies, PAGE.with_suffix(""))
    before, heading, _ = PAGE.read_text().partition(HEADING)
    if not heading:
        raise SystemExit(f"{PAGE} has no heading {HEADING.strip()!r} below which to write")
    PAGE.write_text(before + heading + "\n" + "\n\n".join(_sections(files, studies, pictures)) + "\n")
    print(f"written to {PAGE}")


def studies_of(files: Mapping[str, Any]) -> dict[str, Any]:
    """Results by study; the rounds' may be in several files, rounds-….json, with a work in one of them."""
    studies: dict[str, Any] = {}
    for name, file in files.items():
        study = name.partition("-")[0]
        studies[study] = studies.get(study, {}) | file["results"] if study == "rounds" else file["results"]
    return studies


def _sections(files: Mapping[str, Any], studies: Studies, pictures: Mapping[str, str]) -> Iterable[str]:
    yield "Written by `make report` from what `make bench-peers` measured, not by hand."
    yield _machine(files)
    yield "### Goals\n\n" + goals(studies)
    for name, found in studies.get("rounds", {}).items():
        yield f"### {WORKS[name].title}: out of a backlog\n\n" + rates(found) + _picture(pictures, name)
    for name, title, told in (
        ("quiet", "At low load, and at the start", quiet),
        ("overload", "Three times what the worker can do, with deadlines", overload),
        ("scaling", "More workers", scaling),
        ("memory", "Memory over a million jobs", memory),
        ("failing", "With jobs that fail", failing),
    ):
        if name in studies:
            yield f"### {title}\n\n" + told(studies[name]) + _picture(pictures, name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; the first column is words, the others figures."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def goals(studies: Studies) -> str:
    """What is to be reached, and what was."""
    rows: list[list[str]] = []
    for goal in GOALS:
        bound = f"{'≤' if goal.at_most else '≥'} {goal.bound:g}"
        try:
            value = goal.value(studies)
        except (KeyError, IndexError):
            rows.append([goal.work, goal.what, bound, "", "not measured"])
            continue
        rows.append([goal.work, goal.what, bound, f"{value:.3g}", "yes" if goal.met(value) else "**no**"])
    return table(("work", "beside", "goal", "measured", "met"), rows)


def rates(found: Found) -> str:
    """A work's subjects, the fastest first."""
    rows: list[list[str]] = []
    for name, rounds in sorted(found.items(), key=lambda item: -middle(item[1], "per_second")):
        each = sorted(one["per_second"] for one in rounds)
        times = f"{median(ratios(found['fleet'], rounds)):.2f}" if "fleet" in found else ""
        cpu = sum(middle(rounds, "cpu_us", role) for role in rounds[0].get("cpu_us", {}))
        cells = [name, f"{middle(rounds, 'per_second'):,.0f}", f"{each[0]:,.0f} to {each[-1]:,.0f}", times]
        rows.append([*cells, f"{cpu:.1f}" if cpu else "", _roles(rounds, "cpu_us", ".1f"), _roles(rounds, "rss_mb", ".0f")])
    return table(("", "per second", "rounds", "fleet is … times", "CPU, µs a job", "of it", "RSS, MB"), rows)


def quiet(found: Found) -> str:
    """Latency at a pace, and the first result."""
    bare = middle(found["tensorflow"], "first_result_s")
    rows = [
        [
            name,
            *(f"{middle(rounds, key):.1f}" for key in ("p50_ms", "p95_ms", "p99_ms")),
            f"{middle(rounds, 'first_result_s'):.2f}",
            f"{middle(rounds, 'first_result_s') / bare:.2f}",
            _roles(rounds, "rss_mb", ".0f"),
        ]
        for name, rounds in sorted(found.items(), key=lambda item: middle(item[1], "p50_ms"))
        if name != "tensorflow"
    ]
    head = ("", "p50, ms", "p95, ms", "p99, ms", "first result, s", "of bare TensorFlow's", "RSS, MB")
    return table(head, rows) + f"\n\nBare TensorFlow imports, loads and answers in {bare:.2f} s."


def overload(rounds: list[Figures]) -> str:
    """Goodput, and what is held."""
    rows = [
        [
            str(number),
            f"{one['peak']:,.0f}",
            f"{one['sent']:,}",
            f"{one['per_second']:,.0f}",
            f"{one['of_peak']:.2f}",
            f"{one['late']:,.0f}",
            ", ".join(f"{role} {60 * slope(range(len(held)), held):+.1f}" for role, held in one["rss_mb"].items()),
        ]
        for number, one in enumerate(rounds, 1)
    ]
    head = (
        "round",
        "peak, jobs/s",
        "submitted",
        "in time, jobs/s",
        "of the peak",
        "too late, jobs/s",
        "RSS grows by, MB a minute",
    )
    return table(head, rows)


def scaling(found: Found) -> str:
    """Workers, and how many times one worker's rate they have."""
    rows = [
        [
            name,
            f"{middle(rounds, 'per_second'):,.0f}",
            ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios(rounds, found["1"]))),
        ]
        for name, rounds in found.items()
    ]
    return table(("workers", "jobs/s", "times one worker, round by round"), rows)


def memory(found: Mapping[str, Any]) -> str:
    """What each role holds, and how that grows."""
    rows = [
        [f"{role}, {title}", f"{held[0]:.0f}", f"{max(held):.0f}", f"{1e6 * slope(found[kind]['done'], held):+.1f}"]
        for kind, title in (("steady", "jobs as they come"), ("backlog", "out of a backlog"))
        for role, held in found[kind]["rss_mb"].items()
    ]
    told = f"\n\nA bare process with TensorFlow and the model holds {found['bare_mb']:.0f} MB."
    return table(("", "before, MB", "at most, MB", "grows a million jobs, second half, MB"), rows) + told


def failing(found: Found) -> str:
    """Rates with and without."""
    return table(
        ("", "jobs/s", "CPU, µs a job"),
        [[k, f"{middle(v, 'per_second'):,.0f}", _roles(v, "cpu_us", ".1f")] for k, v in found.items()],
    )


def _machine(files: Mapping[str, Any]) -> str:
    """What it was measured on, and when; a line for each machine and set of versions."""
    on: dict[str, list[str]] = {}
    for name, file in files.items():
        versions = ", ".join(f"{package} {version}" for package, version in file["versions"].items())
        machine = f"{file['cores']} cores ({file['processor']}), {file['system']}; {versions}"
        on.setdefault(machine, []).append(f"{name} ({file['when']})")
    return "\n".join(f"- {', '.join(names)}: {machine}" for machine, names in on.items())


def _roles(rounds: list[Figures], what: str, form: str) -> str:
    return ", ".join(f"{role} {middle(rounds, what, role):{form}}" for role in rounds[0].get(what, {}))


def _picture(pictures: Mapping[str, str], name: str) -> str:
    return f"\n\n![{name}]({pictures[name]})" if name in pictures else ""


if __name__ == "__main__":
    main()
