"""The breaker: a model that fails every job rests, is tried now and then, and comes back with its first success."""

from __future__ import annotations

from penstock_worker.settle.breaker import Breaker


def test_a_row_of_failures_must_be_long_and_last() -> None:
    breaker = Breaker(100, 10.0)
    assert not breaker.failed("m", 5000, now=0.0), "one batch of bad jobs says little of the model"
    assert not breaker.failed("m", 1, now=9.0)
    assert breaker.failed("m", 1, now=10.0)
    assert breaker.resting("m")
    assert breaker.unready(10.0) == ["m"]
    assert not breaker.resting("other")
    assert not breaker.resting(None)


def test_one_success_ends_the_row() -> None:
    breaker = Breaker(100, 10.0)
    breaker.failed("m", 99, now=0.0)
    assert not breaker.succeeded("m")
    assert not breaker.failed("m", 99, now=20.0)
    assert not breaker.failed("m", 1, now=29.0)
    assert breaker.failed("m", 1, now=30.0)


def test_a_death_weighs_more_than_a_failed_job() -> None:
    breaker = Breaker(100, 10.0)
    deaths = [breaker.failed("m", 1, now=4.0 * n, died=True) for n in range(6)]
    assert deaths == [False] * 4 + [True, False]


def test_a_model_that_costs_engines_is_given_jobs_ever_more_rarely() -> None:
    breaker = Breaker(1, 0.0)
    assert breaker.failed("m", 1, now=0.0, died=True)
    now, rests = 0.0, list[float]()
    for _ in range(6):
        assert breaker.blocked(now) == {"m"}
        begin = now
        while breaker.blocked(now):
            now += 0.5
        rests.append(now - begin)
        assert breaker.resting("m"), "what fails now is still not the job's fault"
        assert not breaker.failed("m", 1, now=now)
    assert rests == [5, 10, 20, 40, 60, 60]
    assert breaker.succeeded("m")
    assert not breaker.blocked(now)
    assert not breaker.resting("m")


def test_a_model_that_only_says_no_runs_on_until_one_job_is_not_refused() -> None:
    breaker = Breaker(1, 0.0)
    assert breaker.failed("m", 1, now=0.0)
    assert breaker.resting("m")
    assert not breaker.blocked(0.0)


def test_nobody_is_alarmed_for_ever() -> None:
    breaker = Breaker(1, 0.0)
    breaker.failed("m", 1, now=0.0)
    assert breaker.unready(1000.0) == ["m"]
    assert breaker.unready(2000.0) == []


def test_what_was_under_way_when_it_began_to_rest_does_not_lengthen_that() -> None:
    breaker = Breaker(1, 0.0)
    breaker.failed("m", 1, now=0.0, died=True)
    for _ in range(50):
        breaker.failed("m", 100, now=1.0)
    assert not breaker.blocked(5.0)
