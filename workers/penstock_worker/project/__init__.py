"""Owns the last step of a job's way: outcomes from their topic into Redis, where callers read them.

:func:`run_projector` runs one projector until it is told to stop. Any number share the work; each needs a process of its own.
"""

from penstock_worker.project.projector import Projector, ProjectorMetrics
from penstock_worker.project.running import run_projector
from penstock_worker.project.store import StoreUnsuitable

__all__ = ["Projector", "ProjectorMetrics", "StoreUnsuitable", "run_projector"]
