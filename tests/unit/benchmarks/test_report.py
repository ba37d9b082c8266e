"""The report holds what the studies found: goals that are met, and not, and were not measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks import report
from benchmarks.goals import GOALS
from benchmarks.report import HEADING, goals, rates, studies_of

if TYPE_CHECKING:
    from benchmarks.results import Figures, Found

FLEET: Figures = {
    "per_second": 60.0,
    "cpu_us": {"parent": 4.0, "engine": 3.0, "projector": 2.5, "Redis": 5.0},
    "rss_mb": {"parent": 90.0},
}
MLP: Found = {
    "fleet": [FLEET, FLEET | {"per_second": 90.0}, FLEET | {"per_second": 80.0}],
    "loop": [{"per_second": 40.0}, {"per_second": 45.0}, {"per_second": 80.0}],
    "echo": [{"per_second": 200.0}] * 3,
}
MEMORY: dict[str, Any] = {
    "bare_mb": 500.0,
    "steady": {"done": [0, 10, 20, 30], "rss_mb": {"parent": [60.0, 70.0, 70.0, 70.0], "engine": [600.0] * 4}},
    "backlog": {"done": [0, 10, 20, 30], "rss_mb": {"parent": [60.0, 81.0, 80.0, 80.0], "engine": [500.0] * 4}},
}


def _file(results: Any) -> dict[str, Any]:
    return {
        "when": "now",
        "cores": 2,
        "processor": "fast",
        "system": "Linux",
        "versions": {"python": "3.11"},
        "results": results,
    }


def _goals(studies: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in goals(studies).splitlines()[2:]]
    return {(row[0], row[1]): row[2:] for row in rows}


def test_goals_are_told_as_met_missed_or_not_measured() -> None:
    told = _goals({"rounds": {"mlp": MLP}, "memory": MEMORY})
    mlp, memory = "MLP, one row a job, out of a backlog", "a million jobs"
    assert told[mlp, "the hand-written loop's rate"] == ["≥ 1.4", "1.5", "yes"]
    assert told[mlp, "a bare echo's rate"] == ["≥ 0.7", "0.4", "**no**"]
    assert told[mlp, "mosec's rate"] == ["≥ 3", "", "not measured"]
    assert told[mlp, "CPU of all our processes, µs a job"] == ["≤ 9", "9.5", "**no**"]
    assert told[memory, "the parent, MB"] == ["≤ 80", "81", "**no**"]
    assert told[memory, "the engine, of bare TensorFlow with the model"] == ["≤ 1.1", "1.2", "**no**"]
    assert len(told) == len(GOALS)
    assert sum(row[-1] == "not measured" for row in _goals({}).values()) == len(GOALS)


def test_the_fastest_subject_comes_first_with_what_it_used() -> None:
    echo, fleet, loop = (line.split(" | ") for line in rates(MLP).splitlines()[2:])
    assert [row[0] for row in (echo, fleet, loop)] == ["| echo", "| fleet", "| loop"]
    assert fleet[1:5] == ["80", "60 to 90", "1.00", "14.5"]
    assert loop[3] == "1.50"


def test_a_study_may_be_in_several_files() -> None:
    files = {"rounds-peers": _file({"mlp": 1}), "rounds-works": _file({"cnn": 2}), "quiet": _file(3)}
    assert studies_of(files) == {"rounds": {"mlp": 1, "cnn": 2}, "quiet": 3}


def test_what_stands_above_the_heading_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Performance\n\nWords.\n{HEADING}\nold figures\n")
    found = tmp_path / "found"
    found.mkdir()
    (found / "rounds.json").write_text(json.dumps(_file({"mlp": MLP})))
    (found / "memory.json").write_text(json.dumps(_file(MEMORY)))
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["report", str(found)])
    report.main()
    text = page.read_text()
    assert text.startswith(f"# Performance\n\nWords.\n{HEADING}\n")
    assert "old figures" not in text
    assert "- memory (now), rounds (now): 2 cores (fast), Linux; python 3.11\n" in text
    for name in ("mlp", "memory"):
        assert f"](performance/{name}.svg)" in text
        assert "</svg>" in (tmp_path / "performance" / f"{name}.svg").read_text()


def test_a_folder_without_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"holds no study's file .* `make bench-peers`"):
        report.main()
