"""Logs: one line a message on stderr, JSON where nobody is looking, each with its role."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
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


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == "", "stdout is not for logs"
    return [json.loads(line) for line in err.splitlines()]


def worker(**settings: Any) -> WorkerSettings:
    return WorkerSettings.model_validate(settings)


def test_a_line_is_one_json_object_with_its_role(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(), "work")
    structlog.get_logger("penstock.worker").warning("two\nlines", job="a1")
    (line,) = said(capsys)
    assert (line["role"], line["event"], line["job"], line["level"]) == ("work", "two\nlines", "a1", "warning")
    assert line["timestamp"].endswith("Z")


def test_levels_below_the_one_asked_for_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(log_level="warning"), "work")
    structlog.get_logger("x").info("no")
    structlog.get_logger("x").error("yes")
    assert [line["event"] for line in said(capsys)] == ["yes"]


def test_a_traceback_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(), "work")
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    (line,) = said(capsys)
    assert line["exception"][0]["exc_value"] == "a bug"


def test_for_people_a_line_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(log_format="console"), "project")
    structlog.get_logger("x").info("ready", port=1)
    err = capsys.readouterr().err
    assert "ready" in err
    assert "port=1" in err
    assert "\x1b" not in err, "no colours where there is no terminal"


def test_the_kafka_clients_own_lines_are_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(worker(log_level="debug"), "work")
    logger = kafka_logger()
    assert kafka_logger() is logger
    logger.log(logging.ERROR, "FAIL [thrd] %s", "connect refused")
    lines = said(capsys)
    assert [(line["level"], line["event"]) for line in lines] == [("debug", "FAIL [thrd] connect refused")]
