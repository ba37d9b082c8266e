"""What is remembered of hints that nobody waited for is bounded, and never rules out a result that may be there."""

from __future__ import annotations

from penstock.hinted import MOST, Hinted


def test_hints_that_nobody_waits_for_stay_bounded() -> None:
    hinted = Hinted()
    hinted.begin()
    era = hinted.era
    hinted.remember(str(number) for number in range(MOST))
    assert hinted.rules_out(era)
    assert hinted.heard("1")
    assert not hinted.heard("1")
    hinted.remember(f"more-{number}" for number in range(2))
    assert not hinted._ids
    assert not hinted.rules_out(era)  # what was forgotten might have been the hint of any job of that era
    assert hinted.rules_out(hinted.era)


def test_no_era_rules_anything_out_without_a_subscription() -> None:
    hinted = Hinted()
    assert not hinted.rules_out(0)
    assert not hinted.rules_out(None)
    hinted.begin()
    era = hinted.era
    hinted.end()
    assert not hinted.rules_out(era)


def test_what_is_read_ahead_and_not_asked_for_is_bounded_and_reaches_less_far() -> None:
    hinted = Hinted()
    hinted.begin()
    hinted.remember(str(number) for number in range(1000))
    hinted._reach = 64
    for _ in range(10):
        for job_id in hinted.next():
            hinted.keep(job_id, b"x")
    assert len(hinted._ahead) == 256
    assert len(hinted.next()) == 1
    hinted.keep("not chosen", b"x")
    assert "not chosen" not in hinted._ahead
    assert hinted.heard("0")  # made room, and is known to be there all the same
    hinted._chosen = {"large"}
    hinted.keep("large", b"x" * (8 * 1024 * 1024))
    assert not hinted._ahead
    assert hinted._ahead_bytes == 0


def test_a_newer_generation_s_hint_drops_what_was_read_ahead() -> None:
    hinted = Hinted()
    hinted.begin()
    hinted.remember(["a"])
    hinted.keep(hinted.next()[0], b"old")
    hinted.remember(["a"])
    assert hinted.take("a") is None
    assert hinted.heard("a")
