"""What grows is found, and what only wavers is not."""

from __future__ import annotations

from dataclasses import replace

from tests.faults.vitals import Vital, growth

FLAT = [Vital(50_000_000 + 100_000 * (n % 7), 20 + n % 2, 5) for n in range(100)]


def test_what_wavers_is_flat() -> None:
    assert not list(growth("w", FLAT))


def test_a_start_is_no_growth() -> None:
    assert not list(growth("w", [Vital(10_000_000, 5, 1)] * 20 + FLAT))


def test_what_grows_is_found() -> None:
    for what, step in (("memory", 500_000), ("handles", 1), ("threads", 1)):
        grown = [replace(one, **{what: getattr(one, what) + step * n}) for n, one in enumerate(FLAT)]
        (breach,) = growth("w", grown)
        assert breach.promise == "I8"
        assert what in breach.what


def test_a_few_samples_say_nothing() -> None:
    assert not list(growth("w", [Vital(n * 10**9, n, n) for n in range(5)]))
