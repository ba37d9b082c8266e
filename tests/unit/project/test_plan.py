"""The projector's decisions: where to start, what a batch changes, and who is told."""

from __future__ import annotations

import pytest

from penstock_schemas.names import Names
from penstock_worker.project.plan import LIVE_MS, Planner, Records, Replacement
from penstock_worker.project.position import NOTHING, Cause, Position, Track, decide_start

NOW = 1_800_000_000_000
TTL_MS = 60_000


def outcome(job_id: str, *, generation: int = 0, reply_to: str | None = None, status: str = "succeeded") -> bytes:
    address = f'"reply_to":"{reply_to}",' if reply_to else ""
    return f'{{"contract":"1","generation":{generation},{address}"id":"{job_id}","status":"{status}"}}\n'.encode()


def records(*outcomes: tuple[bytes | None, bytes | None], times: list[int] | None = None, first: int = 0) -> Records:
    keys, values = zip(*outcomes, strict=True)
    return Records(0, list(keys), list(values), times or [NOW] * len(keys), range(first, first + len(keys)))


def known(**changed: object) -> Track:
    track = Track(0, "T1", b"T1 0", synced=True, known=True)
    for name, value in changed.items():
        setattr(track, name, value)
    return track


@pytest.fixture
def planner() -> Planner:
    return Planner(Names("f"), TTL_MS / 1000)


class TestPosition:
    def test_reads_what_it_writes(self) -> None:
        assert Position.decode(Position("Ab-_9", 12).encode()) == Position("Ab-_9", 12)

    @pytest.mark.parametrize("stored", [NOTHING, b"T1", b"T1 ", b" 5", b"T1 -5", b"T1 5 6", b"T1 \xb2", b"T1 " + b"9" * 40])
    def test_anything_else_is_none(self, stored: bytes) -> None:
        assert Position.decode(stored) is None


class TestStart:
    def test_reads_on_where_redis_says(self) -> None:
        start = decide_start(b"T1 40", Track(0), "T1", 0, 100)
        assert (start.cause, start.offset, start.live_from) == (Cause.CONTINUED, 40, 0)

    def test_a_position_that_retention_has_passed_goes_on_at_the_first_record(self) -> None:
        assert decide_start(b"T1 40", Track(0), "T1", 70, 100).offset == 70

    @pytest.mark.parametrize(
        ("stored", "cause"),
        [(NOTHING, Cause.MISSING), (b"junk", Cause.MISSING), (b"T0 40", Cause.OTHER_TOPIC), (b"T1 101", Cause.PAST_END)],
    )
    def test_what_cannot_be_continued_starts_over_by_time(self, stored: bytes, cause: Cause) -> None:
        start = decide_start(stored, Track(0), "T1", 0, 100)
        assert (start.cause, start.offset, start.live_from) == (cause, None, 100)

    def test_a_position_at_the_end_is_continued(self) -> None:
        assert decide_start(b"T1 100", Track(0), "T1", 0, 100).cause is Cause.CONTINUED

    def test_after_a_flush_what_was_announced_is_not_announced_again_and_the_rest_is(self) -> None:
        start = decide_start(NOTHING, known(applied=60), "T1", 0, 100)
        assert (start.offset, start.live_from) == (None, 60)

    def test_an_older_copy_is_gone_back_to(self) -> None:
        start = decide_start(b"T1 40", known(applied=60), "T1", 0, 100)
        assert (start.cause, start.offset, start.live_from) == (Cause.OLDER, 40, 60)

    def test_trouble_within_a_heal_keeps_what_was_announced_before_it(self) -> None:
        assert decide_start(NOTHING, known(applied=60, live_from=90), "T1", 0, 100).live_from == 90
        assert decide_start(b"T1 60", known(applied=60, live_from=90), "T1", 0, 100).live_from == 90

    def test_a_call_whose_answer_was_lost_is_no_heal(self) -> None:
        """Sent but never confirmed, and in fact not applied: its ids were announced to nobody."""
        start = decide_start(b"T1 60", known(applied=60, sent=80), "T1", 0, 100)
        assert (start.cause, start.offset, start.live_from) == (Cause.CONTINUED, 60, 0)

    def test_another_projector_was_further(self) -> None:
        start = decide_start(b"T1 80", known(applied=60), "T1", 0, 100)
        assert (start.cause, start.offset) == (Cause.MOVED, 80)

    def test_of_a_topic_made_again_nothing_was_announced_that_counts(self) -> None:
        assert decide_start(b"T1 60", known(applied=60), "T2", 0, 10).live_from == 10


class TestPlan:
    def test_results_expire_by_the_records_time(self, planner: Planner) -> None:
        plan = planner.plan(known(), records((b"a", outcome("a")), (b"b", outcome("b")), times=[NOW - 5, NOW + 5]), NOW)
        assert plan.change.keys == [b"f:result:a", b"f:result:b"]
        assert plan.change.values == [outcome("a"), outcome("b")]
        assert plan.change.expiries == [(1, b"%d" % (NOW - 5 + TTL_MS)), (1, b"%d" % (NOW + 5 + TTL_MS))]
        assert (plan.change.expected, plan.change.position) == (b"T1 0", b"T1 2")
        assert (plan.garbage, plan.expired) == (0, 0)

    def test_equal_times_make_one_run(self, planner: Planner) -> None:
        batch = records(*[(b"%d" % number, outcome(str(number))) for number in range(5)], times=[NOW, NOW, NOW + 1, NOW, NOW])
        first, second = b"%d" % (NOW + TTL_MS), b"%d" % (NOW + 1 + TTL_MS)
        assert planner.plan(known(), batch, NOW).change.expiries == [(2, first), (1, second), (2, first)]

    def test_a_time_beyond_reason_is_cut(self, planner: Planner) -> None:
        ((_, expiry),) = planner.plan(known(), records((b"a", outcome("a")), times=[1 << 62]), NOW).change.expiries
        assert int(expiry) < NOW + 10 * 86_400_000

    def test_expired_ones_are_skipped_and_passed(self, planner: Planner) -> None:
        batch = records(
            (b"a", outcome("a")), (b"b", outcome("b")), (b"c", outcome("c")), times=[-1, NOW - TTL_MS, NOW - TTL_MS + 1]
        )
        plan = planner.plan(known(), batch, NOW)
        assert plan.change.keys == [b"f:result:c"]
        assert (plan.change.position, plan.expired, plan.garbage) == (b"T1 3", 2, 0)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (b"a", None),
            (None, outcome("a")),
            (None, None),
            (b"", outcome("a")),
            (b"a", b""),
            (b"a", b"\x00\xff garbage"),
            (b"a", b'{"id":"a"}'),
            (b"a", b'{"model_name":"m","id":"a","inputs":[]}'),
            (b"a", b'{"contract":"1","generation":-1,"id":"a"}'),
            (b"a", b'{"contract":"1","generation":0,"reply_to":"x\\ny","id":"a"}'),
            (b"a\nb", outcome("a")),
            (b"a" * 129, outcome("a")),
            (b"\xff", outcome("a")),
        ],
    )
    def test_garbage_is_skipped_without_harm_to_its_neighbours(
        self, planner: Planner, key: bytes | None, value: bytes | None
    ) -> None:
        plan = planner.plan(known(), records((b"x", outcome("x")), (key, value), (b"y", outcome("y"))), NOW)
        assert plan.change.keys == [b"f:result:x", b"f:result:y"]
        assert (plan.change.position, plan.garbage, plan.expired) == (b"T1 3", 1, 0)

    def test_nothing_but_garbage_moves_the_position_alone(self, planner: Planner) -> None:
        plan = planner.plan(known(), records((b"a", None), first=7), NOW)
        assert (plan.change.keys, plan.change.position, plan.announce) == ([], b"T1 8", {})

    def test_derived_ids_are_ids(self, planner: Planner) -> None:
        assert planner.plan(known(), records((b"~0-1-2", outcome("~0-1-2"))), NOW).change.keys == [b"f:result:~0-1-2"]

    def test_later_generations_replace(self, planner: Planner) -> None:
        mended = outcome("b", generation=2)
        plan = planner.plan(known(), records((b"a", outcome("a")), (b"b", mended), (b"c", outcome("c"))), NOW)
        assert plan.change.keys == [b"f:result:a", b"f:result:c"]
        assert plan.change.replacements == [Replacement(b"f:result:b", mended, b"%d" % (NOW + TTL_MS), 2)]

    def test_the_cache_of_beginnings_is_bounded(self, planner: Planner) -> None:
        for start in range(0, 20_000, 1000):
            batch = [(b"a", outcome("a", reply_to=f"c{number}")) for number in range(start, start + 1000)]
            planner.plan(known(), records(*batch), NOW)
        assert len(planner._callers) < 10_000


class TestAnnounce:
    def test_each_client_is_told_of_its_own(self, planner: Planner) -> None:
        batch = records(
            (b"a", outcome("a", reply_to="one")),
            (b"b", outcome("b")),
            (b"c", outcome("c", reply_to="two")),
            (b"d", outcome("d", reply_to="one")),
        )
        plan = planner.plan(known(), batch, NOW)
        assert {client: list(ids) for client, ids in plan.announce.items()} == {"one": [b"a", b"d"], "two": [b"c"]}

    def test_one_client_for_all(self, planner: Planner) -> None:
        batch = records((b"a", outcome("a", reply_to="one")), (b"b", outcome("b", reply_to="one")))
        assert planner.plan(known(), batch, NOW).announce == {"one": [b"a", b"b"]}

    def test_nobody_waits(self, planner: Planner) -> None:
        assert planner.plan(known(), records((b"a", outcome("a"))), NOW).announce == {}

    def test_a_heal_wakes_nobody(self, planner: Planner) -> None:
        old = NOW - LIVE_MS - 1
        batch = records((b"a", outcome("a", reply_to="one")), (b"b", outcome("b", reply_to="one")), times=[old, old], first=3)
        assert planner.plan(known(live_from=5), batch, NOW).announce == {}
        assert planner.plan(known(live_from=4), batch, NOW).announce == {"one": [b"b"]}

    def test_but_who_may_be_waiting_just_now_is_woken(self, planner: Planner) -> None:
        batch = records(
            (b"a", outcome("a", reply_to="one")), (b"b", outcome("b", reply_to="one")), times=[NOW - LIVE_MS - 1, NOW]
        )
        assert planner.plan(known(live_from=5), batch, NOW).announce == {"one": [b"b"]}
