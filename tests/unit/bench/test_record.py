"""What a benchmark leaves can be read, drawn, and compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from penstock.bench.drive import Plan
from penstock.bench.load import OpenLoop
from penstock.bench.plot import plot
from penstock.bench.record import NotARecord, Record, alone, compare, read, run_record, write
from penstock.bench.stages import break_down, verdict
from penstock.bench.tally import Tally
from penstock_schemas.outcomes import Outcome, Timings

if TYPE_CHECKING:
    from pathlib import Path


def record(seconds: float, *, rate: float = 100, failed: int = 0) -> Record:
    """A record of one run of a hundred jobs that took ``seconds`` each."""
    plan, tally = Plan(OpenLoop(rate), 1.0), Tally()
    for number in range(100):
        tally.submitted += 1
        tally.late.add(0.0)
        due = number / 100
        tally.look_into(Outcome("x", "succeeded", timings=Timings(1, 2, 3, 4, 5, 6)), 1, seconds, second_half=number > 50)
        tally.back(due + seconds, due, "failed" if number < failed else "succeeded", 1)
    told = break_down(tally, 0.0001, 0.0002)
    runs = [run_record(plan, tally, told, verdict(tally, plan, told))]
    return Record("2026-01-01T00:00:00+00:00", "f", ["m:1=1"], {"python": "3"}, {"cores": 2}, runs)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = record(0.01)
    write(written, tmp_path / "a.json")
    assert read(tmp_path / "a.json") == written


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "runs": [{}]}', '{"format": 1, "runs": 3}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(NotARecord, match="was not written by `penstock bench --json`"):
        read(tmp_path / "a.json")


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    write(record(0.01), tmp_path / "a.json")
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(NotARecord, match="has format 2; this version of penstock reads 1"):
        read(tmp_path / "a.json")


def test_figures_are_compared_for_better_and_for_worse() -> None:
    changes = {change.figure: change for change in compare(record(0.010), record(0.020, failed=3))}
    assert (changes["p50 ms"].better, changes["failed"].better) == (False, False)
    assert changes["p50 ms"].ratio == pytest.approx(2, rel=0.01)
    assert changes["failed"].ratio is None
    assert {change.figure: change.better for change in compare(record(0.020), record(0.010))}["p99 ms"] is True


def test_what_differs_by_noise_is_the_same() -> None:
    assert {change.better for change in compare(record(0.0100), record(0.0102))} == {None}


def test_only_the_same_loads_are_compared() -> None:
    one, other = record(0.01), record(0.01, rate=200)
    assert compare(one, other) == []
    assert alone(one, other) == ["open loop, 100 jobs/s, poisson", "open loop, 200 jobs/s, poisson"]
    both = replace(one, runs=[*one.runs, *other.runs])
    assert {change.load for change in compare(one, both)} == {"open loop, 100 jobs/s, poisson"}


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_record_is_drawn(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    plot(record(0.01), file)
    assert file.stat().st_size > 10_000
