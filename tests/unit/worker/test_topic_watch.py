"""The watch on the topics goes on, whatever Kafka says or does not say."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import eventually

from penstock_schemas.settings import Settings
from penstock_schemas.topics import wanted_topics
from penstock_worker import topics

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Admin:
    """All topics are there, and Kafka answers what it is asked of them with ``answer``."""

    def __init__(self, settings: Settings, answer: Future[Any]) -> None:
        self._names = [topic.name for topic in wanted_topics(settings, 1)]
        self._answer = answer

    def list_topics(self, timeout: float) -> Any:
        del timeout
        there = SimpleNamespace(partitions={0: SimpleNamespace(replicas=[1])})
        return SimpleNamespace(brokers={1: None}, topics=dict.fromkeys(self._names, there))

    def describe_topics(self, names: object, request_timeout: float) -> Mapping[str, Future[Any]]:
        del names, request_timeout
        return dict.fromkeys(self._names, self._answer)

    def describe_configs(self, resources: list[Any], request_timeout: float) -> Mapping[Any, Future[Any]]:
        del request_timeout
        answer = Future[Any]()
        answer.set_result({})
        return dict.fromkeys(resources, answer)


def test_a_watch_outlives_answers_that_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    asked: list[Future[Any]] = []
    answered = Future[Any]()
    answered.set_result(SimpleNamespace(topic_id="new"))

    def admin(chosen: Settings) -> _Admin:
        asked.append(answered if len(asked) >= 2 else Future())
        return _Admin(chosen, asked[-1])

    monkeypatch.setattr(topics, "_TIMEOUT", 0.01)
    monkeypatch.setattr(topics, "_admin", admin)
    watch = topics.TopicWatch(settings, {}, every=0.01)
    try:
        eventually(lambda: set(watch.ids.values()) == {"new"}, "it looked again")
    finally:
        watch.stop()
