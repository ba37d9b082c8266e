"""Owns services for development, tests and the demo on one machine, without Docker. Nothing is started or imported on import.

:class:`ApacheKafka`, :class:`LocalRedis` and :class:`EmbeddedKafka` each have ``start()``, ``stop()`` and ``kill()``.
"""

from penstock.local.embedded import EmbeddedKafka
from penstock.local.errors import LocalError, LocalMissing
from penstock.local.guard import Guard
from penstock.local.kafka import ApacheKafka
from penstock.local.process import ManagedProcess, free_port
from penstock.local.redis import LocalRedis

__all__ = ["ApacheKafka", "EmbeddedKafka", "Guard", "LocalError", "LocalMissing", "LocalRedis", "ManagedProcess", "free_port"]
