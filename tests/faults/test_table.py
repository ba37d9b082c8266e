"""Trials are recorded, counted and put into the page as they were."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.faults import trials
from tests.faults.table import BEGIN, END, put, table
from tests.faults.trials import Record, Trial, lacking, pin, read, record, valid

if TYPE_CHECKING:
    from pathlib import Path

TRIALS = [
    Trial("Redis flushed", 1, "abc", clean=True, jobs=1000, recovery=0.5),
    Trial("Redis flushed", 1, "abc", clean=True, jobs=1000, recovery=1.5),
    Trial("Redis flushed", 2, "abd", clean=False, jobs=500, recovery=9.0, breaches=("I1: gone",)),
    Trial("engine killed", 2, "abd", clean=True, jobs=500, paid=3),
]


def test_what_is_recorded_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "trials"
    record(TRIALS[:2], str(path))
    record(TRIALS[2:], str(path))
    assert read(path).trials == TRIALS
    assert len(path.read_text().splitlines()) == 3, "a line for each life that a test tells of"
    assert read(tmp_path / "none") == Record()


def test_only_clean_trials_count() -> None:
    assert lacking(["Redis flushed", "engine killed", "other"], 2, TRIALS) == {"engine killed": 1, "other": 2}


def test_the_table_tells_each_fault() -> None:
    lines = table(TRIALS).splitlines()
    assert "| Redis flushed | 3 | 2 | 1,500 | 1.0 s | 1.5 s | abc, abd |" in lines
    assert "| engine killed | 1 | 1 | 500 |  |  | abd |" in lines
    assert lines[-2] == "4 trials, 3 of them clean, in 2 fleets' lives of 1,500 jobs."
    assert lines[-1].startswith("3 jobs paid a try")


def test_trials_count_until_what_they_concern_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_ROOT", tmp_path)

    def commit(file: str, text: str) -> str:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
        for arguments in (["add", "."], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]):
            subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
        return subprocess.check_output(["git", "rev-parse", "--short=10", "HEAD"], cwd=tmp_path, text=True).strip()

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    first, second, third = commit("worker/a", "1"), commit("page", "1"), commit("worker/a", "2")
    file = tmp_path / "trials"
    for number, made in enumerate((first, second, f"{second}+", "nobody's")):
        pin(file, made, ["worker", "worker/a", "page", "not there yet"])
        record([Trial("x", number, made, clean=True, jobs=1)], str(file))
        pin(file, made, ["worker"])
    assert list(read(file).code) == [first, second]

    def counted(tested: str, *paths: str) -> list[str]:
        return [trial.commit for trial in valid(read(file), tested, paths)]

    assert counted(second, "worker") == [first, second]
    assert counted(second, "worker", "page") == [second]
    assert counted(third, "worker") == []
    assert counted(third, "page") == [second]
    assert counted(third, "not there yet") == []
    shutil.rmtree(tmp_path / ".git")  # another history of the same code
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert counted(commit("worker/a", "1"), "worker") == [first, second]


def test_the_table_takes_its_own_place_alone() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = put(page, "new")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert put(once, "new") == once
    with pytest.raises(ValueError, match="must hold"):
        put("a page without marks", "new")
