"""A waiter whose time is up is told why: the store failed, or has not answered for some time."""

from __future__ import annotations

import pytest

from penstock.trouble import Trouble


def test_what_the_store_said_last_is_told() -> None:
    trouble = Trouble()
    assert trouble.now is None
    trouble.say("away")
    assert trouble.now == "away"
    trouble.say(None)
    assert trouble.now is None


def test_a_store_that_does_not_answer_is_told_of_while_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("penstock.trouble.time.monotonic", lambda: clock[0])
    trouble = Trouble()
    with trouble.asking():
        assert trouble.now is None
        clock[0] += 2.0
        assert trouble.now == "Redis has not answered for 2.0 s"
    assert trouble.now is None
    with pytest.raises(KeyError), trouble.asking():
        raise KeyError
    clock[0] += 2.0
    assert trouble.now is None
