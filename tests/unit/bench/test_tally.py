"""What a run counts is what happened."""

from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram

from penstock.bench.tally import Latencies, StageSums, Tally
from penstock_schemas.outcomes import Outcome, Timings


def test_percentiles_are_those_of_the_times_to_three_digits() -> None:
    latencies = Latencies()
    assert latencies.ms(99) == 0
    for number in range(1, 1001):
        latencies.add(number / 1000)
    assert latencies.count == 1000
    assert latencies.ms(50) == pytest.approx(500, rel=0.002)
    assert latencies.ms(99) == pytest.approx(990, rel=0.002)
    assert latencies.percentiles_ms()["100"] == pytest.approx(1000, rel=0.002)
    assert latencies.mean_ms == pytest.approx(500.5, rel=0.002)


def test_no_time_is_too_short_or_too_long_to_be_counted() -> None:
    latencies = Latencies()
    for seconds in (-1.0, 0.0, 1e6):
        latencies.add(seconds)
    assert latencies.count == 3
    assert latencies.ms(100) == pytest.approx(3600e3, rel=0.002)


def test_a_histogram_can_be_read_by_its_own_library() -> None:
    latencies = Latencies()
    latencies.add(0.25)
    assert HdrHistogram.decode(latencies.encoded().encode()).get_total_count() == 1


def test_results_are_counted_by_second_and_status() -> None:
    tally = Tally()
    tally.submitted, tally.first_due = 5, 0.0
    for at, due, status in ((0.5, 0.1, "succeeded"), (2.2, 0.2, "succeeded"), (2.4, 0.3, "failed"), (2.5, 0.4, "expired")):
        tally.back(at, due, status, rows=2)
    assert [second.back for second in tally.seconds] == [1, 0, 1]
    assert tally.status == {"succeeded": 2, "failed": 1, "expired": 1}
    assert (tally.in_flight, tally.rows, tally.latencies.count) == (1, 4, 2)
    assert tally.rate == pytest.approx(2 / 2.5)


def test_stages_are_means_and_engines_are_busy_for_a_jobs_share_of_its_batch() -> None:
    sums = StageSums()
    sums.add(Outcome("a", "succeeded", timings=Timings(100, 10, 30, 400, 20, 8)), rows=2, seconds=0.001)
    sums.add(Outcome("b", "succeeded", timings=Timings(300, 30, 50, 400, 20, 8)), rows=6, seconds=0.003)
    sums.add(Outcome("c", "succeeded"), rows=1, seconds=1.0)
    assert sums.means_us() == {"queue": 200, "decode": 20, "wait": 40, "infer": 400, "encode": 20}
    assert sums.busy == 400, "one batch, and its whole time"
    assert sums.total == 4000
