"""Owns who is tried again when an engine has died, and who has had all tries. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from penstock_worker.intake.delivery import Delivery

MAX_ATTEMPTS: Final = 3


def again(
    unanswered: list[Delivery], suspects: Mapping[int, NDArray[np.int32]]
) -> tuple[list[Delivery], list[tuple[Delivery, list[int]]]]:
    """What to try again, and which jobs (by index in their delivery) are ended instead.

    ``suspects``: by delivery sequence, the jobs that the engine was running. They cost an attempt and are run one by one
    from now on, so that a second death has one suspect; the others go on as they were. Where nothing was running when the
    engine died, nobody can be blamed: deliveries come back in halves, and only a job that is alone in its delivery pays.
    """
    retried: list[Delivery] = []
    ended: list[tuple[Delivery, list[int]]] = []
    running = {d.sequence: _still(d, suspects[d.sequence]) for d in unanswered if d.sequence in suspects}
    none_known = not any(len(indices) for indices in running.values())
    for delivery in unanswered:
        left = delivery.unanswered()
        if none_known and len(left) > 1:
            halves = np.array_split(left, 2)
            retried += [delivery.part(half, attempt=delivery.attempt, solo=delivery.solo) for half in halves]
            continue
        guilty = left if none_known else running.get(delivery.sequence, left[:0])
        innocent = np.setdiff1d(left, guilty)
        if len(innocent):
            retried.append(delivery.part(innocent, attempt=delivery.attempt, solo=delivery.solo))
        if len(guilty) and delivery.attempt >= MAX_ATTEMPTS:
            ended.append((delivery, guilty.tolist()))
        elif len(guilty):
            retried.append(delivery.part(guilty, attempt=delivery.attempt + 1, solo=True))
    return retried, ended


def _still(delivery: Delivery, indices: NDArray[np.int32]) -> NDArray[np.int64]:
    """Those of ``indices`` that are not answered."""
    wide = indices.astype(np.int64)
    return wide[~delivery.answered[wide]]
