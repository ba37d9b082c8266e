"""Owns how a process logs: structlog to stderr, as JSON or for people."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

if TYPE_CHECKING:
    from penstock_schemas.settings import WorkerSettings


class _Stderr:
    """Standard error as a file for lines. What cannot be written is lost: a full disk costs log lines, never jobs.

    A line is one write, past Python's buffer: that would keep what failed, and fail again with each line.
    """

    def __init__(self) -> None:
        self._cut = False
        """Whether the last line was written in part: then the next one begins with the end of that."""

    def write(self, text: str) -> None:
        line = ("\n" * self._cut + text).encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            self._cut = os.write(2, line) < len(line)

    def flush(self) -> None:
        """There is nothing to flush."""


class _ToStructlog(logging.Handler):
    """Passes librdkafka's own lines on as debug: what they mean for a job, the worker says itself, once."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger("librdkafka")
        log.log(logging.CRITICAL if record.levelno >= logging.CRITICAL else logging.DEBUG, record.getMessage())


def kafka_logger() -> logging.Logger:
    """The ``logger`` property of a Kafka client."""
    logger = logging.getLogger("penstock.librdkafka")
    if not logger.handlers:
        logger.addHandler(_ToStructlog())
        logger.propagate = False
    return logger


def configure_logs(worker: WorkerSettings, role: str) -> None:
    """Set structlog up for this process; every line says its ``role``."""
    console = worker.log_format == "console" or (worker.log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if console else [structlog.processors.dict_tracebacks]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, worker.log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
