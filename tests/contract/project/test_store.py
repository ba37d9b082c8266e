"""What the projector may rely on in a result cache: one suite, run against the one in memory and against Redis."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

import pytest
from tests.contract.project.cache import HOUR_MS, Cache, outcome, redis_cache
from tests.support import eventually

from penstock_schemas.names import Names
from penstock_worker.project.plan import Change, Replacement
from penstock_worker.project.position import NOTHING
from penstock_worker.project.store import MOVED, MemoryStore


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[Cache]:
    names = Names(f"t-{uuid.uuid4().hex[:12]}")
    if request.param == "memory":
        yield Cache(MemoryStore(lambda: int(time.time() * 1000)), names, None)
        return
    with redis_cache(request.getfixturevalue("redis_server"), names) as made:
        yield made


class TestBoth:
    def test_there_is_nothing_at_first(self, cache: Cache) -> None:
        cache.store.check()
        standing = cache.store.read([0, 3])
        assert list(standing.positions) == [NOTHING, NOTHING]
        assert abs(standing.now_ms - time.time() * 1000) < HOUR_MS

    def test_results_and_position_are_written_together(self, cache: Cache) -> None:
        assert cache.apply(cache.change(NOTHING, b"T 2", ("a", b"1"), ("b", b"2"))) == [2]
        assert (cache.get("a"), cache.get("b"), cache.position()) == (b"1", b"2", b"T 2")

    def test_a_change_may_be_empty(self, cache: Cache) -> None:
        assert cache.apply(cache.change(NOTHING, b"T 9")) == [0]
        assert cache.position() == b"T 9"

    def test_the_first_wins_within_and_across_changes(self, cache: Cache) -> None:
        assert cache.apply(cache.change(NOTHING, b"T 2", ("a", b"1"), ("a", b"2"))) == [1]
        assert cache.apply(cache.change(b"T 2", b"T 3", ("a", b"3"))) == [0]
        assert cache.get("a") == b"1"

    @pytest.mark.parametrize("expected", [NOTHING, b"T 1", b"U 2", b"T 20"])
    def test_from_any_other_position_nothing_is_changed(self, cache: Cache, expected: bytes) -> None:
        cache.apply(cache.change(NOTHING, b"T 2", ("a", b"1")))
        assert cache.apply(cache.change(expected, b"T 5", ("b", b"2"))) == [MOVED]
        assert (cache.get("b"), cache.position()) == (None, b"T 2")

    def test_partitions_do_not_touch_each_other(self, cache: Cache) -> None:
        changes = [cache.change(NOTHING, b"T 1", ("a", b"1")), cache.change(b"T 7", b"T 8", ("b", b"2"), partition=1)]
        assert cache.apply(*changes) == [1, MOVED]
        assert list(cache.store.read([1, 0]).positions) == [NOTHING, b"T 1"]

    def test_changes_may_be_sent_ahead_and_build_on_each_other(self, cache: Cache) -> None:
        cache.store.send([cache.change(NOTHING, b"T 1", ("a", b"1"))], {"client": [b"a"]})
        cache.store.send([cache.change(b"T 1", b"T 2", ("b", b"2"))], {})
        assert [cache.store.receive(), cache.store.receive()] == [[1], [1]]

    def test_what_has_had_its_time_is_not_there(self, cache: Cache) -> None:
        now = cache.now()
        assert len(cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"), expiry=now - 1))) == 1
        assert cache.get("a") is None
        assert cache.apply(cache.change(b"T 1", b"T 2", ("a", b"2"))) == [1]
        assert cache.get("a") == b"2"

    def test_results_go_when_their_time_comes_and_the_id_is_free(self, cache: Cache) -> None:
        cache.apply(cache.change(NOTHING, b"T 1", ("a", b"1"), expiry=cache.now() + 300))
        assert cache.get("a") == b"1"
        eventually(lambda: cache.get("a") is None, "the result expired")
        assert cache.apply(cache.change(b"T 1", b"T 2", ("a", b"2"))) == [1]

    @pytest.mark.parametrize(
        ("numbers", "stands"),
        [([1], 1), ([1, 2], 2), ([2, 1], 2), ([1, 1], 1), ([3, 2, 1, 3], 3), ([9, 10], 10), ([10, 9], 10)],
    )
    def test_a_newer_generation_replaces_an_older_one_and_never_the_reverse(
        self, cache: Cache, numbers: Sequence[int], stands: int
    ) -> None:
        cache.apply(cache.change(NOTHING, b"T 1", ("a", outcome(0, "first"))))
        seen: set[int] = set()
        for place, number in enumerate(numbers, 1):
            text = "first" if number not in seen else "second"
            seen.add(number)
            cache.apply(cache.replace(b"T %d" % place, b"T %d" % (place + 1), ("a", outcome(number, text), number)))
        assert cache.get("a") == outcome(stands, "first")
        cache.apply(cache.change(b"T %d" % (len(numbers) + 1), b"T 99", ("a", outcome(0, "late"))))
        assert cache.get("a") == outcome(stands, "first")

    def test_each_run_expires_at_its_own_time(self, cache: Cache) -> None:
        now = cache.now()
        keys = [cache.names.result_key(job_id).encode() for job_id in "abcd"]
        runs = [(1, b"%d" % (now + HOUR_MS)), (2, b"%d" % (now - 1)), (1, b"%d" % (now + HOUR_MS))]
        mended = Replacement(cache.names.result_key("e").encode(), outcome(1, "e"), b"%d" % (now + HOUR_MS), 1)
        cache.apply(Change(0, NOTHING, b"T 5", keys, [b"1", b"2", b"3", b"4"], runs, [mended]))
        assert [cache.get(job_id) for job_id in "abcde"] == [b"1", None, None, b"4", outcome(1, "e")]

    def test_a_generation_above_0_needs_none_below_it(self, cache: Cache) -> None:
        assert cache.apply(cache.replace(NOTHING, b"T 1", ("a", outcome(4, "x"), 4), ("b", outcome(1, "y"), 1))) == [2]
        assert (cache.get("a"), cache.get("b")) == (outcome(4, "x"), outcome(1, "y"))

    def test_many_at_once(self, cache: Cache) -> None:
        """More than Lua's stack would take as arguments of one function."""
        results = [(f"j{number}", b"%d" % number) for number in range(20_000)]
        assert cache.apply(cache.change(NOTHING, b"T 20000", *results)) == [20_000]
        assert cache.get("j19999") == b"19999"
