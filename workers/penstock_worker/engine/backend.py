"""Owns the seam to the library that runs models: what an engine asks of a backend, and how one is found.

``worker.backend`` names a module with ``open_backend(device, cpu_threads)``. The one that ships is
:mod:`penstock_worker.engine.tensorflow_models`, the only module that imports TensorFlow.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_worker.engine.signature import Signature

Arrays = dict[str, "NDArray[Any]"]


class LoadedModel(Protocol):
    """One version of one model, in memory."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...

    def call(self, signature: str, inputs: Arrays) -> Arrays:
        """Run one signature on whole arrays, rows along axis 0. BYTES tensors are object arrays of bytes.

        Raises :class:`OutOfMemoryError` where the device has no room; any other exception means that the model refuses
        these values.
        """
        ...


class Backend(Protocol):
    """A library that loads and runs models on one device."""

    def load(self, path: Path) -> LoadedModel:
        """Load what stands at ``path``. Raises :class:`ModelUnreadableError` with the reason where it cannot."""
        ...


class OutOfMemoryError(Exception):
    """The device has no room for this batch."""


class ModelUnreadableError(Exception):
    """A model is not there, or not (yet) in a state to be loaded; the message says which file and why."""


def open_backend(module: str, device: str, cpu_threads: int) -> Backend:
    """The backend of ``module`` on ``device`` (``cpu``, or ``gpu:N``), with ``cpu_threads`` threads (0: one a core)."""
    return cast("Backend", importlib.import_module(module).open_backend(device, cpu_threads))
