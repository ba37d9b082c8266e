"""Jobs are due when a load says so."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from penstock.bench.load import ClosedLoop, OpenLoop


def test_constant_arrivals_are_evenly_apart() -> None:
    due = list(islice(OpenLoop(50, "constant").due(np.random.default_rng(1)), 5))
    assert due == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    due = np.array(list(islice(OpenLoop(200).due(np.random.default_rng(1)), 20_000)))
    gaps = np.diff(due)
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05), "as wide as its mean"


def test_the_same_seed_gives_the_same_arrivals() -> None:
    first, again = (list(islice(OpenLoop(10).due(np.random.default_rng(7)), 2000)) for _ in range(2))
    assert first == again


def test_loads_are_named_for_tables() -> None:
    assert str(OpenLoop(2.5, "constant")) == "open loop, 2.5 jobs/s, constant"
    assert str(ClosedLoop(8)) == "closed loop, 8 callers"
