"""Nobody waits for a member that could go on: neither for one that leaves, nor for one that commits in a rebalance."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from tests.faults.harness import Fleet
from tests.support import eventually

from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.consumer import Intake
from penstock_worker.intake.ledger import Mark
from penstock_worker.intake.placing import Start
from penstock_worker.project.consumer import OutcomeConsumer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.conftest import SiteFactory, SiteSettings
    from tests.support import MakeTopics, SettingsFactory

    from penstock_schemas.settings import Settings

JOIN: Final = b"\x00\x0b"
"""How Kafka's JoinGroup request begins."""
ONE_PARTITION: Final[dict[str, Any]] = {
    # The session is longer than a test waits; who stays hears of it with its next heartbeat.
    "kafka": {"session_timeout": 60.0, "properties": {"heartbeat.interval.ms": 500}},
    "topics": {"job_partitions": 1, "outcome_partitions": 1},
}


class _Owner:
    """Takes and gives partitions without a word."""

    def __init__(self) -> None:
        self.held: set[Any] = set()
        self.starts: dict[Any, Start] = {}

    def assigned(self, partitions: Mapping[tuple[str, int], Start]) -> None:
        self.held |= set(partitions)
        self.starts |= partitions

    def revoking(self, partitions: list[tuple[str, int]]) -> None:
        self.held -= set(partitions)

    def lost(self, partitions: list[tuple[str, int]]) -> None:
        self.held -= set(partitions)


def two_joined(turns: tuple[Callable[[], object], Callable[[], object]], joined: Callable[[], bool]) -> None:
    """Poll two members until both have joined, and for a while after that, until the group has come to rest."""
    deadline = time.monotonic() + 30
    while not joined():
        assert time.monotonic() < deadline, "the two have not joined within 30 s"
        for turn in turns:
            turn()


def members(chosen: Settings, group: str) -> int:
    return len(described(chosen, group).members)


def described(chosen: Settings, group: str) -> Any:
    admin: Any = AdminClient({"bootstrap.servers": chosen.kafka.bootstrap_servers, "log_level": 0})
    return admin.describe_consumer_groups([group])[group].result(10)


@pytest.mark.timeout(120)
def test_an_idle_worker_leaves_at_once(settings: SettingsFactory, make_topics: MakeTopics) -> None:
    chosen = settings(**ONE_PARTITION)
    make_topics(chosen)
    owners = _Owner(), _Owner()
    both = Intake(chosen, owners[0], BrokerClock(), "a"), Intake(chosen, owners[1], BrokerClock(), "b")
    for intake in both:
        intake.subscribe()
    turns = (lambda: both[0].poll(0.01, 1)), (lambda: both[1].poll(0.01, 1))
    two_joined(turns, lambda: both[0].joined and both[1].joined and any(owner.held for owner in owners))
    idle, busy = both if not owners[0].held else both[::-1]
    idle.close()
    eventually(lambda: members(chosen, chosen.names.workers_group) == 2 or not busy.poll(0.01, 1), "its two members left")
    busy.close()


@dataclass
class Midway:
    """A group in the middle of a rebalance, which waits for the second member of ``first``."""

    chosen: Settings
    first: Intake
    owner: _Owner
    other: _Owner
    """Of the worker that came; it is polled by a thread of its own."""
    held: set[Any]
    """What the first one had before that."""


@pytest.fixture
def midway(settings: SettingsFactory, make_topics: MakeTopics) -> Iterator[Midway]:
    chosen = settings(kafka={"session_timeout": 60.0, "properties": {"heartbeat.interval.ms": 500}})
    make_topics(chosen)
    owners = _Owner(), _Owner()
    first, comer = Intake(chosen, owners[0], BrokerClock(), "a"), Intake(chosen, owners[1], BrokerClock(), "b")
    first.subscribe()
    group = chosen.names.workers_group
    eventually(lambda: (first.poll(0.01, 1), first.joined and members(chosen, group) == 2)[1], "it joined")
    held = set(owners[0].held)
    ended = threading.Event()
    comer.subscribe()
    background = threading.Thread(target=lambda: [comer.poll(0.01, 1) for _ in iter(ended.is_set, True)])
    background.start()
    try:
        (jobs,) = first._jobs.values()
        eventually(lambda: not jobs.poll(0.01, 1) and owners[0].held != held, "the first member gave up its share")
        yield Midway(chosen, first, owners[0], owners[1], held)
    finally:
        ended.set()
        background.join()
        comer.close()


@pytest.mark.timeout(120)
def test_a_worker_leaves_in_the_middle_of_a_rebalance(midway: Midway) -> None:
    """The rebalance ends when all have given up what they must, and the leaver's second member does so in a poll of its own."""
    with structlog.testing.capture_logs() as said:
        midway.first.close()
    assert not [line for line in said if line["event"].startswith("the group does not answer")]
    eventually(lambda: midway.other.held == midway.held, "the other has it all")


@pytest.mark.timeout(120)
def test_a_commit_in_the_middle_of_a_rebalance_keeps_nobody_waiting(midway: Midway) -> None:
    """Kafka answers it after the member's own join, and that when the worker's other member has joined, too."""
    stayer, names = midway.first, midway.chosen.names
    joining = ConsumerGroupState.PREPARING_REBALANCING
    eventually(lambda: described(midway.chosen, names.workers_group).state == joining, "the first member asks to join again")
    kept = next(place for place in midway.owner.held if place[0] == names.jobs(""))
    stayer.commit({kept: Mark(0, 0, 0)})
    assert stayer.answer([kept]) is None
    eventually(lambda: (stayer.poll(0.01, 1), stayer.answer([kept]) is not None)[1], "the commit is answered")
    shared = "all is shared out again"
    eventually(lambda: (stayer.poll(0.01, 1), midway.owner.held | midway.other.held == midway.held)[1], shared)
    stayer.close()


class _Leaver(_Owner):
    """Says a last word of what it gives up."""

    def __init__(self) -> None:
        super().__init__()
        self.intake: Intake

    def revoking(self, partitions: list[tuple[str, int]]) -> None:
        self.intake.commit(dict.fromkeys(partitions, Mark(0, 7, 0)), last=True)
        super().revoking(partitions)


@pytest.mark.timeout(120)
def test_the_last_word_is_there_when_the_next_owner_looks(
    settings: SettingsFactory, make_topics: MakeTopics, request: pytest.FixtureRequest
) -> None:
    """It is sent before the request to join again, and nobody waits for its answer."""
    chosen = settings(kafka={"properties": {"heartbeat.interval.ms": 500}})
    make_topics(chosen)
    owners = _Leaver(), _Owner()
    giver, comer = Intake(chosen, owners[0], BrokerClock(), "a"), Intake(chosen, owners[1], BrokerClock(), "b")
    owners[0].intake = giver
    request.addfinalizer(comer.close)
    request.addfinalizer(giver.close)
    giver.subscribe()
    eventually(lambda: (giver.poll(0.01, 1), giver.joined and owners[0].held)[1], "it joined")
    comer.subscribe()
    eventually(lambda: (giver.poll(0.01, 1), comer.poll(0.01, 1), len(owners[1].starts) > 4)[2], "the other has a share")
    assert {start.left.takeovers for start in owners[1].starts.values()} == {7}


@pytest.mark.timeout(120)
def test_a_lost_request_to_join_is_made_again(own_site: SiteFactory, site_settings: SiteSettings) -> None:
    """As after max.poll.interval.ms, which is less here; until then the group goes on without that member."""
    site = own_site()
    chosen = site_settings(site, kafka={"properties": {"max.poll.interval.ms": 6000}})
    owners = _Owner(), _Owner()
    first, comer = (
        Intake(site.reached_by(f"worker-{number}", chosen), owner, BrokerClock(), "w")
        for number, owner in zip((2, 1), owners, strict=True)
    )
    first.subscribe()
    every = chosen.topics.job_partitions * (1 + len(chosen.retry.tiers))
    eventually(lambda: (first.poll(0.01, 1), len(owners[0].held) == every)[1], "it has all")
    site.links["link-1"].lose(JOIN)
    comer.subscribe()
    eventually(lambda: (first.poll(0.01, 1), comer.poll(0.01, 1), len(owners[1].held) == every)[2], "the group went on")
    site.links["link-1"].lose(None)
    eventually(lambda: (first.poll(0.01, 1), comer.poll(0.01, 1), 0 < len(owners[1].held) < every)[2], "it is back")
    first.close()
    comer.close()


@pytest.mark.timeout(180)
def test_members_whose_request_to_join_was_lost_end_all_the_same(
    own_site: SiteFactory, site_settings: SiteSettings, tmp_path: Path
) -> None:
    site = own_site()
    chosen = site_settings(site)
    with Fleet(chosen, tmp_path, site=site) as fleet:
        stuck = [fleet.add("worker-2"), fleet.add("projector-2")]
        eventually(lambda: all(member.ready for member in stuck), "they serve", 60)
        site.links["link-1"].lose(JOIN)
        others = [fleet.add("worker-1"), fleet.add("projector-1")]
        eventually(lambda: all(member.ready for member in others), "the others serve", 60)
        eventually(lambda: members(chosen, chosen.names.workers_group) == 2, "the workers' group went on", 60)
        eventually(lambda: members(chosen, chosen.names.projector_group) == 1, "the projectors' group went on", 60)
        assert fleet.drain_all() == []
        for member in stuck:
            assert "the group does not answer" in member.log.read_text()


@pytest.mark.timeout(120)
def test_an_idle_projector_leaves_at_once(settings: SettingsFactory, make_topics: MakeTopics) -> None:
    chosen = settings(**ONE_PARTITION)
    make_topics(chosen)
    both = OutcomeConsumer(chosen), OutcomeConsumer(chosen)
    turns = (lambda: both[0].take(1, 0.01)), (lambda: both[1].take(1, 0.01))
    two_joined(turns, lambda: all(one.joined for one in both) and any(one.assigned for one in both))
    idle, busy = both if not both[0].assigned else both[::-1]
    idle.close()
    eventually(lambda: busy.take(1, 0.01) or members(chosen, chosen.names.projector_group) == 1, "one member left")
    busy.close()
