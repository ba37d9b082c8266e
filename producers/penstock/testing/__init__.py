"""What a caller's own tests need: an in-memory fleet, so that no one needs Kafka, Redis or TensorFlow to test their service.

With pytest, ask for the fixture ``fake_fleet``; elsewhere make a :class:`FakeFleet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.testing.fleet import Fail, FakeFleet

__all__ = ["Fail", "FakeFleet"]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: pytest imports this package in every project that has Penstock installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from penstock.testing import fleet

    value: object = getattr(fleet, name)
    return value
