"""Owns a block: like jobs of one delivery, decoded and on their way through the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock_schemas.jobs import Request
    from penstock_worker.engine.backend import Arrays
    from penstock_worker.engine.catalog import Route


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    r"""Jobs of one request, stacked: ``inputs`` are of shape (jobs, \\*shape). Columns run in step, one item a job.

    ``indices`` are positions in the delivery ``sequence``; ``queue_us`` is the time from the broker's append to decoding;
    ``bytes`` is the size of the jobs'
    records; ``ready_at`` is monotonic seconds.
    """

    sequence: int
    topic: str
    solo: bool
    route: Route
    request: Request
    rows: int
    indices: NDArray[np.int32]
    ids: list[bytes]
    keys_are_ids: bool
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    queue_us: NDArray[np.int64]
    bytes: int
    decode_us: int
    ready_at: float
    inputs: Arrays

    @property
    def jobs(self) -> int:
        return len(self.ids)
