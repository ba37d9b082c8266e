"""The projector's loop, on a topic and a store in memory: whatever goes away, all outcomes end in the store, once."""

from __future__ import annotations

import pytest
from tests.unit.project.world import TTL, World

from penstock_worker.project.position import Cause
from penstock_worker.project.projector import Projector
from penstock_worker.project.store import StoreUnavailable, StoreUnsuitable


def turn(projector: Projector, times: int = 40) -> None:
    for _ in range(times):
        projector.turn()


def test_the_first_wins_and_each_is_announced() -> None:
    world = World(partitions=2)
    world.publish("a", "b", text="first")
    world.publish("a", text="second")
    world.publish("c", partition=1, text="first")
    projector, _ = world.projector()
    assert not projector.ready
    turn(projector)
    assert projector.ready
    assert world.texts() == {"a": "first", "b": "first", "c": "first"}
    assert (world.figures.written, world.figures.present, world.figures.behind) == (3, 1, 0)
    assert world.store.positions == {0: b"T1 3", 1: b"T1 1"}


def test_generations() -> None:
    world = World()
    world.publish("a", text="0")
    world.publish("a", text="2", generation=2)
    world.publish("a", text="1", generation=1)
    world.publish("a", text="2 again", generation=2)
    world.publish("a", text="0 again")
    projector, _ = world.projector()
    turn(projector)
    assert world.texts() == {"a": "2"}


def test_a_flush_is_healed_while_idle_and_wakes_nobody() -> None:
    world = World()
    projector, _ = world.projector()
    world.publish("a", "b")
    turn(projector)
    world.seconds += 60
    told = world.told()
    world.store.results.clear()
    world.store.positions.clear()
    turn(projector)
    assert world.texts().keys() == {"a", "b"}
    assert world.told() == told
    world.publish("c")
    turn(projector)
    assert world.told() == [*told, "c"]


def test_a_flush_is_healed_under_load() -> None:
    world = World()
    projector, _ = world.projector()
    for number in range(30):
        world.publish(f"j{number}")
        projector.turn()
        if number == 15:
            world.store.results.clear()
            world.store.positions.clear()
    turn(projector)
    assert len(world.texts()) == 30


def test_an_older_copy_is_healed() -> None:
    world = World()
    projector, _ = world.projector()
    world.publish("a", "b")
    turn(projector)
    copy = dict(world.store.results), dict(world.store.positions)
    world.publish("c", "d")
    turn(projector)
    world.seconds += 60
    told = world.told()
    world.store.results, world.store.positions = copy
    turn(projector)
    assert world.texts().keys() == {"a", "b", "c", "d"}
    assert world.told() == told
    assert world.figures.causes[-1] is Cause.OLDER


def test_what_has_expired_is_not_read_again() -> None:
    world = World()
    world.publish("old")
    world.seconds += TTL
    world.publish("young")
    projector, _ = world.projector()
    turn(projector)
    assert world.texts().keys() == {"young"}
    assert world.figures.expired <= 1


def test_a_store_that_is_away_costs_nothing() -> None:
    world = World()
    projector, source = world.projector()
    world.publish("a")
    turn(projector)
    world.store.away = StoreUnavailable("unreachable", "refused")
    world.publish("b", text="first")
    turn(projector, 200)
    assert not projector.ready
    world.publish("b", text="second")
    world.publish("c")
    turn(projector)
    assert "b" not in world.texts()
    assert world.figures.behind == 3, "what waits is counted while it does"
    world.store.away = None
    turn(projector, 200)
    assert projector.ready
    assert world.texts() == {"a": "", "b": "first", "c": ""}
    assert world.figures.available == [True, False, True]
    assert sorted(world.told()) == ["a", "b", "b", "c"]
    assert source.joined


def test_a_call_whose_answer_was_lost_is_asked_after_not_repeated() -> None:
    """Applied, but the answer never came: Redis says so itself, and nothing is written twice."""
    world = World()
    projector, _ = world.projector()
    turn(projector)
    world.publish("a", "b")
    projector.turn()  # sent, not heard of
    world.store.away = StoreUnavailable("silent", "no answer within 5 s")
    turn(projector)
    world.store.away = None
    turn(projector, 200)
    world.publish("c")
    turn(projector)
    assert world.texts().keys() == {"a", "b", "c"}
    assert world.figures.present == 0
    assert world.figures.causes[-1] is Cause.MOVED


def test_a_zombie_applies_nothing_and_reads_on_where_redis_is() -> None:
    world = World()
    zombie, _ = world.projector()
    turn(zombie)
    world.publish("a")
    turn(zombie)
    heir, _ = world.projector()
    world.publish("b", "c")
    turn(heir)
    before = dict(world.store.results), dict(world.store.positions)
    world.publish("d")
    turn(heir)
    zombie._look_due = float("inf")  # so that nothing but the refusal of its next change can tell it
    zombie.turn()
    zombie.turn()
    assert not zombie.ready
    turn(zombie)
    assert world.store.positions == {0: b"T1 4"}
    assert {key: world.store.results[key] for key in before[0]} == before[0]
    assert world.figures.present == 0
    world.publish("e")
    turn(zombie)
    assert world.texts().keys() == set("abcde")


def test_a_topic_made_again_starts_over() -> None:
    world = World()
    projector, source = world.projector()
    world.publish("a", "b", "c")
    turn(projector)
    world.topic.logs, world.topic.topic_id = [[]], "T2"
    source.trouble(0)
    world.publish("d")
    turn(projector)
    assert world.texts().keys() == set("abcd")
    assert world.store.positions == {0: b"T2 1"}
    assert world.figures.causes[-1] is Cause.OTHER_TOPIC


def test_a_log_that_lost_its_end_starts_over() -> None:
    world = World()
    projector, source = world.projector()
    world.publish("a", "b", "c")
    turn(projector)
    del world.topic.logs[0][1:]
    world.publish("d")
    source.trouble(0)
    turn(projector)
    assert world.texts().keys() == set("abcd")
    assert world.figures.causes[-1] is Cause.PAST_END


def test_a_broker_that_is_away_holds_up_only_what_has_to_be_placed() -> None:
    world = World(partitions=2)
    projector, source = world.projector({0})
    turn(projector)
    source.away = True
    source.assign(1)
    world.publish("a")
    world.publish("b", partition=1)
    turns = 0
    for number in range(100):
        world.publish(f"j{number}")
        before = world.seconds
        projector.turn()
        turns += world.seconds - before < 1
    assert turns > 90  # the others were not held up much by asking in vain
    turn(projector)
    assert world.texts().keys() == {"a", *(f"j{number}" for number in range(100))}
    source.away = False
    turn(projector)
    assert world.texts().keys() >= {"a", "b"}


def test_partitions_come_and_go() -> None:
    world = World(partitions=2)
    projector, source = world.projector()
    world.publish("a")
    turn(projector)
    source.revoke(0)
    world.publish("b")
    world.publish("c", partition=1)
    turn(projector)
    assert world.texts().keys() == {"a", "c"}
    source.assign(0)
    turn(projector)
    assert world.texts().keys() == {"a", "b", "c"}


def test_an_unsuitable_store_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def check() -> None:
        raise StoreUnsuitable("this Redis evicts")

    monkeypatch.setattr(world.store, "check", check)
    projector, _ = world.projector()
    with pytest.raises(StoreUnsuitable):
        projector.turn()


def test_garbage_is_counted_and_passed() -> None:
    world = World()
    world.publish("a")
    world.topic.logs[0].append((None, b"garbage", world.now_ms))
    world.publish("b")
    projector, _ = world.projector()
    turn(projector)
    assert world.texts().keys() == {"a", "b"}
    assert world.figures.garbage == 1


def test_closing_hears_the_last_answers_and_leaves() -> None:
    world = World()
    projector, source = world.projector()
    turn(projector)
    world.publish("a")
    projector.turn()
    projector.close()
    assert source.closed
    assert world.figures.written == 1
