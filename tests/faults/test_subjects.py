"""A soak goes through every test that is marked for it, and through nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import soak
from tests.faults.subjects import SUBJECTS, Subject

if TYPE_CHECKING:
    import pytest

FOLDER = Path(__file__).parent
MARKED = re.compile(r"@pytest\.mark\.soak\n(?:@.*\n)*def (test_\w+)")


def test_every_soak_test_is_a_subject() -> None:
    for file in FOLDER.glob("test_*.py"):
        for test in MARKED.findall(file.read_text()):
            assert any(subject.test in (file.name, f"{file.name}::{test}") for subject in SUBJECTS), f"{file.name}::{test}"


def test_the_page_names_tests_that_there_are() -> None:
    page = (FOLDER.parents[1] / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+\.py)::(test_\w+)`", page)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (FOLDER.parents[1] / file).read_text(), f"{file}::{test}"


def test_every_subject_is_a_soak_test() -> None:
    for subject in SUBJECTS:
        file, _, test = subject.test.partition("::")
        marked = MARKED.findall((FOLDER / file).read_text())
        assert marked
        assert not test or test in marked


def test_what_nobody_can_run_is_given_up_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Subject("test_nothing.py", ("a fault",), 30)
    monkeypatch.setattr(soak, "SUBJECTS", (wanted,))
    monkeypatch.setattr(soak, "GIVE_UP", 2)
    monkeypatch.setenv("FAULTS_COMMIT", "abc")
    monkeypatch.delenv("FAULTS_ONLY", raising=False)
    monkeypatch.delenv("FAULTS_TRIALS", raising=False)
    assert soak.main([str(tmp_path / "trials")]) == 1
    said = capsys.readouterr().out
    assert "about 0.5 hours to go" in said
    assert said.count("NOT CLEAN") == 2
    assert "lacking: 60 of 'a fault'" in said
