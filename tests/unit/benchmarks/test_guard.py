"""The guard says what a run is beside those before it, and warns of a slower one only."""

from __future__ import annotations

from typing import Any

from benchmarks.guard import table, verdict


def run(ratio: float) -> dict[str, Any]:
    return {
        "when": "2026-11-22T10:00:00+00:00",
        "commit": "abc",
        "ratio": ratio,
        "fleet": 90_000,
        "echo": 300_000,
        "cpu_us": 9.25,
    }


def test_a_run_much_slower_than_usual_is_warned_of() -> None:
    before = [run(0.5), run(0.45), run(0.55)]
    assert verdict(run(0.40), before).startswith("warning: the fleet did 0.40 of the echo, usually 0.50")
    assert not verdict(run(0.43), before).startswith("warning")
    assert not verdict(run(0.9), before).startswith("warning")
    assert not verdict(run(0.1), []).startswith("warning")


def test_the_history_stands_beside_it() -> None:
    lines = table([run(0.5), run(0.4)]).splitlines()
    assert [line.split()[1:] for line in lines[1:]] == [["abc", r, "90,000", "300,000", "9.2"] for r in ("0.50", "0.40")]
