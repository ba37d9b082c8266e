"""What the benchmarks count, and the records that they count on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benchmarks.processes import cpu_seconds, family, last_line, rss_mb
from benchmarks.results import middle, ratios
from benchmarks.subjects import PACED, QUEUED, SERVERS, STREAMS, SUBJECTS
from benchmarks.works import WORKS, Work
from tests.unit.schemas.decoding import decode, group_of

if TYPE_CHECKING:
    from benchmarks.results import Figures


@pytest.mark.parametrize("work", WORKS.values(), ids=list(WORKS))
def test_a_works_records_are_jobs_of_one_row(work: Work) -> None:
    key, headers = work.key_and_headers(7)
    decoded = decode(work.value(), key=key, headers=headers)
    assert decoded.ids == [b"job-000000007"]
    assert {name: array.shape for name, array in group_of(decoded).inputs.items()} == {"x": (1, 1, *work.row)}


def test_medians_and_ratios_are_taken_round_by_round() -> None:
    one: list[Figures] = [
        {"per_second": 10.0, "cpu_us": {"a": 1.0}},
        {"per_second": 30.0, "cpu_us": {"a": 3.0}},
        {"per_second": 20.0},
    ]
    assert (middle(one, "per_second"), middle(one, "cpu_us", "a"), middle(one, "cpu_us", "b")) == (20.0, 1.0, 0.0)
    assert ratios(one[:2], [{"per_second": 20.0}, {"per_second": 10.0}]) == [0.5, 3.0]


def test_processes_are_told_by_what_they_do() -> None:
    mine = family(os.getpid())
    assert mine["parent"] == os.getpid()
    assert cpu_seconds(mine)["parent"] > 0
    assert rss_mb(mine)["parent"] > 10
    assert cpu_seconds({"gone": 2**22 + 1}) == rss_mb({"gone": 2**22 + 1}) == {}


def test_a_process_that_fails_says_why() -> None:
    assert last_line([sys.executable, "-c", "print(1); print(2)"]) == b"2"
    with pytest.raises(RuntimeError, match="no such thing"):
        last_line([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_every_peer_is_a_subject() -> None:
    folder = Path(__file__).parents[3] / "benchmarks" / "peers"
    folders = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    assert folders == {name.replace("-", "_") for name in PACED} - {"fleet"}
    assert set(PACED) == set(STREAMS) | set(QUEUED) | set(SERVERS) < set(SUBJECTS)
