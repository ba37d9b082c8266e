"""Owns the pytest plugin: the fixture ``fake_fleet``. Loaded by every pytest run, so it imports nothing until it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.testing.fleet import FakeFleet


@pytest.fixture
def fake_fleet() -> Iterator[FakeFleet]:
    """An in-memory fleet without models: give it some with ``fake_fleet.serve(name, function)``. Closed after the test."""
    from penstock.testing.fleet import FakeFleet

    with FakeFleet() as fleet:
        yield fleet
