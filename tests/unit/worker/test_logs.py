"""Logs: one line a message on stderr, JSON where nobody is looking, each with its role."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from penstock_schemas.settings import WorkerSettings
from penstock_worker.logs import configure_logs, kafka_logger


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def said(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capfd.readouterr()
    assert out == "", "stdout is not for logs"
    return [json.loads(line) for line in err.splitlines()]


def worker(**settings: Any) -> WorkerSettings:
    return WorkerSettings.model_validate(settings)


def test_a_line_is_one_json_object_with_its_role(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(), "work")
    structlog.get_logger("penstock.worker").warning("two\nlines", job="a1")
    (line,) = said(capfd)
    assert (line["role"], line["event"], line["job"], line["level"]) == ("work", "two\nlines", "a1", "warning")
    assert line["timestamp"].endswith("Z")


def test_levels_below_the_one_asked_for_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(log_level="warning"), "work")
    structlog.get_logger("x").info("no")
    structlog.get_logger("x").error("yes")
    assert [line["event"] for line in said(capfd)] == ["yes"]


def test_a_traceback_stays_in_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(), "work")
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    (line,) = said(capfd)
    assert line["exception"][0]["exc_value"] == "a bug"


def test_for_people_a_line_is_text(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(log_format="console"), "project")
    structlog.get_logger("x").info("ready", port=1)
    err = capfd.readouterr().err
    assert "ready" in err
    assert "port=1" in err
    assert "\x1b" not in err, "no colours where there is no terminal"


def test_the_kafka_clients_own_lines_are_for_debugging(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(log_level="debug"), "work")
    logger = kafka_logger()
    assert kafka_logger() is logger
    logger.log(logging.ERROR, "FAIL [thrd] %s", "connect refused")
    lines = said(capfd)
    assert [(line["level"], line["event"]) for line in lines] == [("debug", "FAIL [thrd] connect refused")]


def test_a_line_that_cannot_be_written_is_lost_and_the_next_one_is_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs(worker(), "work")
    log, write = structlog.get_logger("x"), os.write
    monkeypatch.setattr(os, "write", lambda fd, line: write(fd, line[:10]))
    log.info("the disk has room for its beginning")
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(os, "write", lambda fd, line: write(full.fileno(), line))
        log.info("the disk is full")
    monkeypatch.setattr(os, "write", write)
    log.info("there is room again")
    begun, whole = capfd.readouterr().err.splitlines()
    assert len(begun) == 10
    assert json.loads(whole)["event"] == "there is room again"
