"""Owns the fixtures of the fault tests: services of a fleet's own, and settings that point at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.faults.run import options
from tests.faults.site import Site
from tests.support import MakeTopics, SettingsFactory, missing, running_kafka

from penstock.local import ApacheKafka, LocalMissing
from penstock_schemas.settings import Settings


class SiteFactory(Protocol):
    """``own_site()``: started services of one fleet's own."""

    def __call__(self, **options: Any) -> Site: ...


class SiteSettings(Protocol):
    """``site_settings(site, worker={"window": 2})``: settings of this test's fleet on ``site``, its topics made."""

    def __call__(self, site: Site, **sections: Any) -> Settings: ...


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One for all fleets that leave theirs alone, which forgets dead members sooner than others may."""
    with running_kafka(tmp_path_factory.mktemp("faults-kafka"), config={"group.min.session.timeout.ms": "1000"}) as server:
        yield server


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[SiteFactory]:
    with ExitStack() as stack:

        def make(**chosen: Any) -> Site:
            try:
                return stack.enter_context(Site(tmp_path / "site", **chosen))
            except LocalMissing as error:
                missing(str(error))

        yield make
    shutil.rmtree(tmp_path / "site" / "kafka", ignore_errors=True)


@pytest.fixture
def site_settings(settings: SettingsFactory, make_topics: MakeTopics, tmp_path: Path) -> SiteSettings:
    def make(site: Site, **sections: Any) -> Settings:
        usual = options(tmp_path, bootstrap_servers=site.kafka.bootstrap)
        usual["redis"] = {"url": site.redis.url, "timeout": 1.0}
        for name, section in sections.items():
            usual[name] = usual.get(name, {}) | section
        chosen = settings(**usual)
        make_topics(chosen)
        return chosen

    return make
