"""The in-memory fleet with two models, and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from penstock import (
    Client,
)
from penstock.testing import Fail, FakeFleet

if TYPE_CHECKING:
    from collections.abc import Iterator


def double(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 2, "rows": np.array([len(inputs["x"])], np.int64)}


def moody(inputs: dict[str, Any]) -> dict[str, Any]:
    if inputs["x"][0] < 0:
        raise Fail(f"{inputs['x'][0]} is below zero")
    return {"y": inputs["x"]}


@pytest.fixture
def fleet(fake_fleet: FakeFleet) -> FakeFleet:
    fake_fleet.serve("double", double)
    fake_fleet.serve("moody", moody)
    return fake_fleet


@pytest.fixture
def client(fleet: FakeFleet) -> Iterator[Client]:
    with fleet.client() as client:
        yield client
