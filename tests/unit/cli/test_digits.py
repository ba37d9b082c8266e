"""The demo's drawing and figures."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.cli.digits import drawn, side_by_side, train_script
from penstock.cli.measuring import Burst, Sample, answer, percentiles
from penstock_schemas.outcomes import Outcome


def test_a_scan_is_drawn_from_blank_to_full() -> None:
    image = np.zeros((8, 8), np.float32)
    image[0, 0], image[7, 7] = 16, 8
    lines = drawn(image)
    assert len(lines) == 8
    assert lines[0] == "██" + " " * 14
    assert lines[7] == " " * 14 + "▒▒"


def test_drawings_stand_beside_each_other_with_their_captions() -> None:
    assert side_by_side([["ab", "cd"], ["ef", "gh"]], ["1", "2"], gap=1) == ["ab ef", "cd gh", "1  2 "]


def test_times_are_counted_from_when_a_job_was_due() -> None:
    samples = [Sample(due=index, back=index + index / 1000, outcome=Outcome("a", "succeeded")) for index in range(101)]
    assert percentiles(samples) == pytest.approx((50.0, 95.0, 99.0))


def test_a_burst_that_did_not_run_has_no_rate() -> None:
    assert Burst().rate == 0.0
    assert Burst(jobs=10, seconds=2.0).rate == 5.0


def test_the_answer_is_the_likeliest_digit() -> None:
    outcome = Outcome("a", "succeeded")
    outcome.outputs["probabilities"] = np.array([[0.1, 0.7, 0.2]], np.float32)
    digit, sure = answer(outcome)
    assert digit == 1
    assert sure == pytest.approx(0.7)


def test_the_example_is_where_the_demo_looks_for_it() -> None:
    assert train_script().name == "train.py"
