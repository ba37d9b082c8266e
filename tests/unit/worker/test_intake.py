"""The consumer of the jobs topics: starts, gaps, pauses and commits, on a consumer whose broker is the test."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from tests.unit.worker.making import Message

from penstock_schemas.settings import Settings
from penstock_worker.intake import member as module
from penstock_worker.intake.clock import BrokerClock
from penstock_worker.intake.consumer import Intake
from penstock_worker.intake.gate import Hold
from penstock_worker.intake.ledger import Mark
from penstock_worker.intake.placing import Start
from penstock_worker.intake.properties import jobs_properties, retries_properties
from penstock_worker.intake.takeover import Left


@dataclass(frozen=True)
class Record(Message):
    error_: KafkaError | None = None
    topic_: str = "f.jobs"

    def error(self) -> KafkaError | None:
        return self.error_


@dataclass
class FakeConsumer:
    properties: dict[str, Any]
    waiting: deque[Any] = field(default_factory=deque[Any])
    """What poll and consume hand out; a function among them is called in passing, as librdkafka calls back."""
    committed_: dict[int, int] = field(default_factory=dict[int, int])
    said: dict[int, str] = field(default_factory=dict[int, str])
    """Metadata of those commits."""
    low: dict[int, int] = field(default_factory=dict[int, int])
    assigned: dict[int, int] = field(default_factory=dict[int, int])
    paused: set[int] = field(default_factory=set[int])
    read: dict[int, int] = field(default_factory=dict[int, int])
    """The offset after what was handed out since a partition was assigned."""
    commits: list[dict[int, tuple[int, str]]] = field(default_factory=list[Any])
    topics: list[str] = field(default_factory=list[str])
    unreachable: bool = False
    joined: int = 0
    left_at_close: int | None = None
    """How many partitions it still had when it was closed; None before that."""
    retries: Any = None
    """The other member, for the retry topics, where this is that for jobs."""
    callbacks: dict[str, Callable[..., None]] = field(default_factory=dict[str, Callable[..., None]])

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:
        self.topics, self.callbacks = topics, callbacks
        self.joined += 1

    def unsubscribe(self) -> None:
        self.waiting.append(lambda: self.revoke(*self.assigned) if self.assigned else None)

    def close(self) -> None:
        self.left_at_close = len(self.assigned)

    def consume(self, most: int, timeout: float) -> list[Any]:
        found: list[Any] = []
        while self.waiting and len(found) < most:
            one = self.waiting.popleft()
            if callable(one):
                one()
            else:
                found.append(one)
                if one.error() is None:
                    self.read[one.partition()] = one.offset() + 1
        return found

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(p.topic, p.partition, self.read.get(p.partition, OFFSET_INVALID)) for p in partitions]

    def poll(self, timeout: float) -> Any:
        found = self.consume(1, timeout)
        return found[0] if found else None

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._ask()
        return [
            TopicPartition(
                p.topic, p.partition, self.committed_.get(p.partition, OFFSET_INVALID), self.said.get(p.partition, "")
            )
            for p in partitions
        ]

    def get_watermark_offsets(self, place: TopicPartition, timeout: float = 0, cached: bool = False) -> tuple[int, int]:  # noqa: FBT002 - as the library's
        self._ask()
        return self.low.get(place.partition, 0), 100

    def list_topics(self, topic: str | None = None, timeout: float = 0) -> Any:
        self._ask()
        return SimpleNamespace(
            topics=dict.fromkeys(["f.jobs", "f.retry.10s", "f.retry.2h", "f.retry.x", "g.retry.5s", "f.dead"])
        )

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned |= {p.partition: p.offset for p in partitions}

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for p in partitions:
            del self.assigned[p.partition]
            self.read.pop(p.partition, None)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("f.jobs", number) for number in self.assigned]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {p.partition for p in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {p.partition for p in partitions}

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
        assert asynchronous, "a commit that is waited for may stand behind a join that waits for who waits"
        self._ask()
        self.commits.append({p.partition: (p.offset, p.metadata or "") for p in offsets})

    def answer(self, error: KafkaError | None = None, topic: str = "f.jobs") -> None:
        """Answer the last commit."""
        said = [TopicPartition(topic, number, *word) for number, word in self.commits[-1].items()]
        self.properties["on_commit"](error, said)

    def _ask(self) -> None:
        if self.unreachable:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    # What a group does to its member.

    def assign(self, *numbers: int) -> None:
        self.callbacks["on_assign"](self, [TopicPartition("f.jobs", number) for number in numbers])

    def revoke(self, *numbers: int) -> None:
        self.callbacks["on_revoke"](self, [TopicPartition("f.jobs", number) for number in numbers])

    def lose(self, *numbers: int) -> None:
        self.callbacks["on_lost"](self, [TopicPartition("f.jobs", number) for number in numbers])


@dataclass
class Owner:
    told: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    left: dict[int, Left] = field(default_factory=dict[int, Left])

    def assigned(self, partitions: Mapping[Any, Start]) -> None:
        self.told.append(("assigned", list(partitions)))
        self.told += [("gap", (partition, *start.gap)) for partition, start in partitions.items() if start.gap]
        self.left = {partition[1]: start.left for partition, start in partitions.items()}

    def revoking(self, partitions: list[Any]) -> None:
        self.told.append(("revoking", partitions))

    def lost(self, partitions: list[Any]) -> None:
        self.told.append(("lost", partitions))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, owner: Owner) -> tuple[Intake, FakeConsumer]:
    consumers: list[FakeConsumer] = []
    now = [100.0]

    def consumer(properties: dict[str, Any]) -> FakeConsumer:
        consumers.append(FakeConsumer(properties))
        return consumers[-1]

    monkeypatch.setattr(module, "Consumer", consumer)
    intake = Intake(Settings(fleet="f"), owner, BrokerClock(lambda: now[0], lambda: now[0]), "w")
    intake.subscribe()
    (retries,) = (one for one in consumers if one.topics != ["f.jobs"])
    (jobs,) = (one for one in consumers if one is not retries)
    jobs.retries = retries
    return intake, jobs


def offsets(messages: list[Any]) -> list[int]:
    return [message.offset() for message in messages]


def test_partitions_begin_at_their_committed_offsets_and_gaps_are_told(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    intake, consumer = made
    consumer.committed_, consumer.low = {0: 50, 1: 3, 2: 7}, {0: 10, 1: 9, 2: 7, 3: 4}
    consumer.assign(0, 1, 2, 3)
    assert not intake.joined
    consumer.retries.assign()
    assert intake.joined
    assert consumer.assigned == {0: 50, 1: 9, 2: 7, 3: 4}, "where nothing was committed, at the log's start"
    assert owner.told == [("assigned", [("f.jobs", n) for n in range(4)]), ("gap", (("f.jobs", 1), 3, 8))]


def test_every_retry_topic_that_there_is_is_read(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    known = ["f.retry.10s", "f.retry.1m", "f.retry.10m"]
    assert sorted(consumer.retries.topics) == sorted([*known, "f.retry.2h"]), "jobs may wait in one that was named once"
    consumer.retries.unreachable = True
    intake.subscribe()
    assert sorted(consumer.retries.topics) == sorted(known)


def test_an_assignment_works_though_the_broker_cannot_be_asked(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    _, consumer = made
    consumer.unreachable = True
    consumer.assign(0)
    assert list(consumer.assigned) == [0]
    assert owner.told == [("assigned", [("f.jobs", 0)])]


def test_newly_assigned_partitions_are_paused_too_while_it_is_paused(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    consumer.assign(0)
    intake.pause()
    consumer.assign(1)
    assert consumer.paused == {0, 1}
    intake.resume()
    assert consumer.paused == set()


def test_who_owns_the_partitions_hears_of_their_end_before_it(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    intake, consumer = made
    consumer.retries.assign()
    consumer.assign(0, 1)
    consumer.revoke(0)
    assert intake.joined
    consumer.lose(1)
    assert consumer.assigned == {}
    assert owner.told[-2:] == [("revoking", [("f.jobs", 0)]), ("lost", [("f.jobs", 1)])]
    assert not intake.joined, "the group went on without us"
    consumer.assign()
    assert intake.joined


def test_a_poll_hands_out_what_is_there_and_tells_of_errors(
    made: tuple[Intake, FakeConsumer], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, consumer = made
    assert intake.poll(0, 10) == ([], [])
    refused = Record(error_=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), offset_=2)
    consumer.waiting.extend([Record(offset_=1), refused, refused, Record(offset_=3), Record(offset_=4)])
    assert offsets(intake.poll(0, 4).jobs) == [1, 3]
    assert offsets(intake.poll(0, 1).jobs) == [4]
    assert capsys.readouterr().out.count("fetch error") == 1, "once, not once a try"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    consumer.waiting.extend([refused, refused])
    intake.poll(0, 4)
    assert capsys.readouterr().out.count("fetch error") == 1, "an hour later it is news"


def test_after_a_damaged_record_reading_goes_on_where_we_say(made: tuple[Intake, FakeConsumer]) -> None:
    """By itself the client would go on from wherever the damage sends it."""
    intake, consumer = made
    consumer.assign(0)
    broken, lost = Record(error_=KafkaError(KafkaError._BAD_MSG), offset_=2), KafkaError(KafkaError._AUTO_OFFSET_RESET)
    consumer.waiting.extend([Record(offset_=1), broken, Record(error_=lost, offset_=10**18), Record(offset_=0)])
    assert offsets(intake.poll(0, 4).jobs) == [1]
    assert (consumer.assigned, consumer.paused) == ({0: 0}, {0}), "not yet: it may have to tell of a rebalance first"
    consumer.waiting.append(Record(offset_=0))
    assert offsets(intake.poll(0, 4).jobs) == []
    assert (consumer.assigned, consumer.paused) == ({0: 2}, set())
    consumer.waiting.append(Record(offset_=2))
    assert offsets(intake.poll(0, 4).jobs) == [2]


def test_a_client_that_has_lost_its_place_is_sent_back_to_it(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    consumer.committed_ = {0: 40}
    consumer.assign(0)

    def lost(wrong: int | None, *more: Record, said: str = "") -> int:
        """Where it goes on after the client has said that it stands at ``wrong``, which is not in the log."""
        event: Any = Record(error_=KafkaError(KafkaError._AUTO_OFFSET_RESET, said), offset_=wrong)  # type: ignore[arg-type]
        consumer.waiting.extend([event, *more])
        assert offsets(intake.poll(0, 4).jobs) == [record.offset() for record in more]
        intake.poll(0, 4)
        assert consumer.paused == set()
        return consumer.assigned[0]

    consumer.assigned[0] = -7
    assert lost(10**18) == 40, "where it began"
    consumer.waiting.extend([Record(offset_=40), Record(offset_=41)])
    assert offsets(intake.poll(0, 4).jobs) == [40, 41]
    assert lost(10**18) == 42, "behind what was read"
    intake.hold(Hold(("f.jobs", 0), 41))
    intake.release([("f.jobs", 0)])
    intake.poll(0, 4)
    assert lost(10**18) == 41, "where it was sent, and has not read yet"
    assert lost(41) == OFFSET_BEGINNING, "that is gone: retention has deleted it, say"
    consumer.waiting.append(Record(offset_=60))
    assert offsets(intake.poll(0, 4).jobs) == [60]
    assert lost(61) == OFFSET_BEGINNING
    consumer.waiting.append(Record(offset_=70))
    assert offsets(intake.poll(0, 4).jobs) == [70]
    assert lost(None) == 71
    assert lost(None, said="truncation detected: broker end offset is 90 (...). Reset to INVALID") == 71, "that is not ours"
    assert lost(None, said="truncation detected: broker end offset is 65 (...). Reset to INVALID") == 65
    assert lost(10**18, Record(offset_=65), Record(offset_=66)) == 65, "it goes on: that was from before"


def test_a_partition_begun_where_nobody_knows_is_read_from_its_start_if_it_stands_still(
    made: tuple[Intake, FakeConsumer],
) -> None:
    """The broker could not be asked for what was committed; then the client finds nothing, or what retention has deleted."""
    intake, consumer = made
    for wrong in (None, 17):
        consumer.unreachable = True
        consumer.assign(0)
        consumer.unreachable = False
        assert consumer.assigned[0] == OFFSET_INVALID
        event: Any = Record(error_=KafkaError(KafkaError._AUTO_OFFSET_RESET), offset_=wrong)  # type: ignore[arg-type]
        consumer.waiting.append(event)
        intake.poll(0, 4)
        intake.poll(0, 4)
        assert consumer.assigned[0] == OFFSET_BEGINNING
        consumer.revoke(0)


def test_a_partition_that_stands_still_without_a_word_is_sent_on(made: tuple[Intake, FakeConsumer]) -> None:
    """What the client said of it was thrown away when it was paused."""
    intake, consumer = made
    consumer.assign(0, 1)
    consumer.waiting.append(Record(offset_=7))
    intake.poll(0, 4)
    states = {"0": {"desired": True, "fetch_state": "none"}, "1": {"desired": True, "fetch_state": "active"}}
    statistics = orjson.dumps({"topics": {"f.jobs": {"partitions": {**states, "-1": {"desired": False}}}}}).decode()
    for assigned in ({0: 0, 1: 0}, {0: 8, 1: 0}):
        consumer.properties["stats_cb"](statistics)
        intake.poll(0, 4)
        assert consumer.assigned == assigned, "only if it was so the last time, too"
    consumer.properties["stats_cb"](statistics)
    consumer.revoke(0)
    consumer.properties["stats_cb"](statistics)
    intake.poll(0, 4)
    assert consumer.assigned == {1: 0}


def test_a_partition_that_goes_before_its_jump_is_left_alone(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    consumer.assign(0)
    consumer.waiting.append(Record(offset_=5))
    intake.poll(0, 4)
    intake.hold(Hold(("f.jobs", 0), 5))
    assert (consumer.assigned, consumer.paused) == ({0: 0}, {0})
    consumer.waiting.append(lambda: consumer.revoke(0))
    intake.poll(0, 4)
    assert consumer.assigned == {}


def test_under_a_backlog_a_jump_waits_for_a_second(made: tuple[Intake, FakeConsumer], monkeypatch: pytest.MonkeyPatch) -> None:
    intake, consumer = made
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    consumer.assign(0, 1)
    intake.hold(Hold(("f.jobs", 0), 5))
    for seconds, assigned in ((0.5, 0), (0.6, 5)):
        now[0] += seconds
        consumer.waiting.extend([Record(offset_=1), Record(offset_=2)])
        intake.poll(0, 2)
        assert consumer.assigned[0] == assigned
    intake.release([("f.jobs", 0)])
    assert consumer.paused == set()


def test_partitions_are_given_up_before_the_client_is_closed(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    """librdkafka may be through with closing before a callback is that it waits for, and both wait for ever."""
    intake, consumer = made
    consumer.assign(0, 1)
    intake.close()
    assert (consumer.left_at_close, consumer.retries.left_at_close) == (0, 0)
    assert owner.told[-1] == ("revoking", [("f.jobs", 0), ("f.jobs", 1)])


def test_who_leaves_begins_with_nothing_new(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    intake, consumer = made
    consumer.waiting.append(lambda: consumer.assign(0))
    consumer.unreachable = True
    intake.close()
    assert consumer.paused == {0}
    assert [what for what, _ in owner.told] == ["revoking"]


@pytest.mark.parametrize("end", ["revoke", "lose"])
def test_a_message_from_before_a_rebalance_is_not_handed_out_after_it(made: tuple[Intake, FakeConsumer], end: str) -> None:
    intake, consumer = made
    consumer.committed_ = {0: 3}
    consumer.assign(0, 1)

    def rebalance() -> None:
        getattr(consumer, end)(0)
        consumer.assign(0)

    # The first message was fetched in the old epoch; the new one begins where was committed, before it.
    consumer.waiting.extend([Record(offset_=5), rebalance, Record(offset_=3), Record(offset_=4)])
    assert offsets(intake.poll(0, 10).jobs) == [3, 4]
    consumer.waiting.extend([Record(offset_=5), lambda: consumer.revoke(1), Record(offset_=6)])
    assert offsets(intake.poll(0, 10).jobs) == [5, 6], "another partition's end does not concern it"


def test_what_the_last_owner_left_is_told(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    _, consumer = made
    consumer.committed_ = {0: 50, 1: 50, 2: 50, 3: 500}
    consumer.said = {0: "open 1 70", 1: "shut 1 60", 2: "alone 0 51", 3: "open 1 500"}
    consumer.assign(0, 1, 2, 3)
    assert owner.left[0] == Left(2, 70)
    assert owner.left[1] == Left(1, 60)
    assert owner.left[2] == Left(1, 51, alone=True)
    assert (owner.left[3], consumer.assigned[3]) == (Left(), 0), "a topic that was made again is read from its start"


def test_a_topic_of_the_same_name_with_another_id_is_read_from_its_start(
    made: tuple[Intake, FakeConsumer], owner: Owner
) -> None:
    intake, consumer = made
    ids = {"f.jobs": "two"}
    intake._jobs["f.jobs"]._ids = lambda: ids
    consumer.committed_ = {0: 50, 1: 50, 2: 50}
    consumer.said = {0: "open 1 70 one", 1: "open 1 70 two", 2: "open 1 70"}
    consumer.assign(0, 1, 2)
    assert consumer.assigned == {0: 0, 1: 50, 2: 50}, "who did not say which topic it read is believed"
    assert owner.left[0] == Left()
    intake.commit({("f.jobs", 0): Mark(5, 0, 9)})
    assert consumer.commits[-1] == {0: (5, "open 0 9 two")}
    ids = {"f.jobs": "three"}
    intake.commit({("f.jobs", 0): Mark(6, 0, 9)})
    assert consumer.commits[-1] == {0: (6, "open 0 9 two")}, "that is what was read"


def test_a_member_joins_anew_where_its_topic_is_another_one(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    intake, consumer = made
    ids: dict[str, str] = {"f.jobs": "one"}
    intake._jobs["f.jobs"]._ids = lambda: ids
    for now in ({"f.jobs": "one"}, {"f.jobs": "one", "f.dead": "x"}):
        ids = now
        intake.heed_topics()
    consumer.assign(0, 1)
    assert consumer.joined == 1
    for joined, now in enumerate([dict[str, str](), {"f.jobs": "two"}, {"f.jobs": "three"}], 2):
        ids = now
        intake.heed_topics()
        if joined == 2:
            consumer.waiting.append(Record(offset_=7))
            intake.heed_topics()
            assert consumer.joined == 1, "it would forget to leave, if it is about to join"
            assert intake.poll(0, 10) == ([], []), "what it had of the old one is nobody's"
        intake.heed_topics()
        assert consumer.joined == joined
    assert owner.told[1] == ("lost", [("f.jobs", 0), ("f.jobs", 1)]), "nothing of the old one is committed"


def test_who_finds_its_own_last_word_has_not_died(made: tuple[Intake, FakeConsumer], owner: Owner) -> None:
    intake, consumer = made
    consumer.assign(0, 1)
    intake.commit({("f.jobs", 0): Mark(5, 0, 6, alone=True), ("f.jobs", 1): Mark(5, 1, 6)})
    assert consumer.commits[-1] == {0: (5, "alone 0 6"), 1: (5, "open 1 6")}
    consumer.lose(0, 1)
    consumer.committed_, consumer.said = {0: 5, 1: 5}, {0: "alone 0 6", 1: "open 2 6"}
    consumer.assign(0, 1)
    assert owner.left == {0: Left(), 1: Left(3, 6)}, "the second has had another owner since"


def test_a_failed_commit_is_remembered(made: tuple[Intake, FakeConsumer], capsys: pytest.CaptureFixture[str]) -> None:
    intake, consumer = made
    intake.commit({})
    intake.commit({("f.jobs", 0): Mark(5, 0, 9)})
    intake.commit({("f.jobs", 1): Mark(6, 2, 6)}, last=True)
    assert consumer.commits == [{0: (5, "open 0 9")}, {1: (6, "shut 2 6")}]
    consumer.answer()
    assert not intake.health.commit_failed
    consumer.answer(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    assert intake.health.commit_failed
    assert "commits fail" not in capsys.readouterr().out, "that is no trouble"
    for _ in range(2):
        consumer.answer(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
    assert capsys.readouterr().out.count("commits fail") == 1
    intake.health.commit_failed = False
    consumer.unreachable = True
    intake.commit({("f.jobs", 0): Mark(7, 0, 7)})
    assert intake.health.commit_failed
    assert intake.answer(P0) is False


P0, P1 = [("f.jobs", 0)], [("f.jobs", 1)]


def test_what_became_of_a_commit_is_known_once_it_is_answered(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    consumer.assign(0, 1)
    consumer.retries.assign(0)
    assert (intake.answer([]), intake.answer(P0)) == (True, False), "nothing was committed yet"
    intake.commit({("f.jobs", 0): Mark(5, 0, 9)})
    assert intake.answer(P0) is None
    intake.commit({("f.jobs", 0): Mark(6, 0, 9), ("f.jobs", 1): Mark(1, 0, 9)})
    consumer.properties["on_commit"](None, [TopicPartition("f.jobs", 0, 5, "open 0 9")])
    assert intake.answer(P0) is None, "that was the one before"
    consumer.answer()
    assert intake.answer(P0 + P1) is True
    consumer.properties["on_commit"](None, [TopicPartition("f.jobs", 0, 5, "open 0 9")])
    assert (intake.answer(P0), intake.health.commit_failed) == (False, True), "the one before came after it"
    intake.commit({("f.jobs", 0): Mark(6, 0, 9)})
    consumer.answer()
    assert intake.answer(P0 + P1) is True
    intake.commit({("f.retry.10s", 0): Mark(3, 0, 9)})
    assert intake.answer([*P0, ("f.retry.10s", 0)]) is None
    consumer.retries.answer(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), "f.retry.10s")
    assert intake.answer([*P0, ("f.retry.10s", 0)]) is False


def test_a_partition_may_be_refused_alone(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    intake.commit({("f.jobs", 0): Mark(6, 0, 9), ("f.jobs", 1): Mark(1, 0, 9)})
    refused = SimpleNamespace(
        topic="f.jobs",
        partition=0,
        offset=6,
        metadata="open 0 9",
        error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART),
    )
    consumer.properties["on_commit"](None, [refused, TopicPartition("f.jobs", 1, 1, "open 0 9")])
    assert (intake.answer(P0), intake.answer(P1)) == (False, True)
    assert intake.health.commit_failed


def test_what_kafka_has_is_not_committed_again_before_it_is_let_go_of(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    consumer.assign(0, 1)
    marks = {("f.jobs", 0): Mark(5, 0, 9), ("f.jobs", 1): Mark(7, 0, 9)}
    intake.commit(marks, last=True)
    intake.commit(marks, last=True)
    consumer.answer(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    intake.commit(marks, last=True)
    assert len(consumer.commits) == 3, "neither what is not answered nor what was refused is there"
    consumer.answer()
    intake.commit(marks | {("f.jobs", 0): Mark(6, 0, 9)}, last=True)
    assert consumer.commits[3:] == [{0: (6, "shut 0 9")}]
    consumer.answer()
    consumer.lose(0)
    consumer.assign(0)
    assert intake.answer(P0) is False
    intake.commit({("f.jobs", 0): Mark(6, 0, 9)}, last=True)
    assert consumer.commits[4:] == [{0: (6, "shut 0 9")}], "another owner may have said something else since"


def test_lag_is_what_stands_behind_the_positions(made: tuple[Intake, FakeConsumer]) -> None:
    intake, _ = made
    assert intake.lag({("f.jobs", 0): 90, ("f.jobs", 1): 100, ("f.jobs", 2): 101}) == 10


def test_an_idle_worker_hears_that_kafka_is_back(
    made: tuple[Intake, FakeConsumer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    intake, consumer = made
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(3):
        consumer.properties["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert intake.health.down
    consumer.retries.unreachable = True
    intake.poll(0, 1)
    consumer.retries.unreachable = False
    intake.poll(0, 1)
    assert intake.health.down, "it asks now and then, not all the time"
    now[0] += 60
    intake.poll(0, 1)
    intake.poll(0, 1)
    assert not intake.health.down
    said = capsys.readouterr().out
    assert [said.count(text) for text in ("no broker can be reached", "can be reached again")] == [1, 1], "once a change"


def test_properties_leave_committing_to_the_worker_and_follow_the_protocol() -> None:
    classic = jobs_properties(Settings(fleet="f"), "w", "f.jobs")
    assert (classic["enable.auto.commit"], classic["enable.auto.offset.store"]) == (False, False)
    assert (classic["auto.offset.reset"], classic["check.crcs"], classic["fetch.queue.backoff.ms"]) == ("error", True, 5)
    assert (classic["partition.assignment.strategy"], classic["session.timeout.ms"]) == ("cooperative-sticky", 8_000)
    made: Any = {"group_protocol": "consumer", "properties": {"check.crcs": False}}
    newer = jobs_properties(Settings(fleet="f", kafka=made), "w", "f.jobs")
    assert newer["group.protocol"] == "consumer"
    assert not {"partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"} & set(newer)
    assert newer["check.crcs"] is False


def test_a_lost_request_to_join_is_made_again_soon_and_giving_up_partitions_may_take_its_time() -> None:
    own: Any = {"properties": {"session.timeout.ms": "45000"}}
    made: list[Any] = [{}, {"worker": {"revoke_grace": 60}}, {"kafka": {"session_timeout": 300}}, {"kafka": own}]
    every = [jobs_properties(Settings(fleet="f", **more), "w", "f.jobs") for more in made]
    assert [one["max.poll.interval.ms"] for one in every] == [40_000, 150_000, 300_000, 45_000], "no less than the session's"
    several: Any = {"queues": ["", "slow", "fast"]}
    queues = jobs_properties(Settings(fleet="f", worker=several), "w", "f.jobs")
    assert queues["max.poll.interval.ms"] == 50_000, "one after the other, all members give up what they have"
    for one in every:
        Consumer(one)  # which refuses what does not go together


def test_no_property_of_the_users_commits_in_the_workers_place() -> None:
    unsafe = {"enable.auto.commit": True, "auto.offset.reset": "latest", "partition.assignment.strategy": "range"}
    made: Any = {"properties": unsafe}
    properties = jobs_properties(Settings(fleet="f", kafka=made), "w", "f.jobs")
    assert (properties["enable.auto.commit"], properties["auto.offset.reset"]) == (False, "error")
    assert properties["partition.assignment.strategy"] == "cooperative-sticky"


def test_no_two_members_of_a_worker_are_one_static_member() -> None:
    made: Any = {"properties": {"group.instance.id": "pod-1"}}
    settings = Settings(fleet="f", kafka=made)
    every = [
        jobs_properties(settings, "w", "f.jobs"),
        jobs_properties(settings, "w", "f.jobs.slow"),
        retries_properties(settings, "w"),
    ]
    assert [one["group.instance.id"] for one in every] == ["pod-1", "pod-1-f.jobs.slow", "pod-1-retries"]
    assert "group.instance.id" not in retries_properties(Settings(fleet="f"), "w")


def test_a_poll_asks_every_topic_and_commits_go_to_who_reads_them(made: tuple[Intake, FakeConsumer]) -> None:
    intake, consumer = made
    consumer.retries.assign(0)
    consumer.waiting.append(Record(offset_=1))
    consumer.retries.waiting.append(Record(offset_=7, topic_="f.retry.10s"))
    assert offsets(intake.poll(0, 10).jobs) == [1]
    assert not consumer.retries.waiting
    intake.commit({("f.jobs", 0): Mark(2, 0, 2), ("f.retry.10s", 0): Mark(8, 0, 8)})
    assert (consumer.commits, consumer.retries.commits) == ([{0: (2, "open 0 2")}], [{0: (8, "open 0 8")}])
