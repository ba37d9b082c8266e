"""Owns who is to blame when an engine has died, and how all others go on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from penstock_worker.intake.delivery import Isolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from penstock_worker.intake.delivery import Delivery


class Verdict(NamedTuple):
    """What becomes of the jobs of a dead engine: deliveries to run again, in order, and the one job that is guilty."""

    again: list[Delivery]
    guilty: tuple[Delivery, int] | None
    suspects: int


def judge(unanswered: Sequence[Delivery], running: Sequence[tuple[int, NDArray[np.int32]]], decoding: int | None) -> Verdict:
    """Who goes on how, of deliveries ``unanswered`` (each with a job left) when their engine died.

    ``running``: jobs that the model was running, as delivery sequences and indices (a sequence may come twice).
    ``decoding``: the delivery that was being decoded. Both together are the suspects. One alone is guilty; of several nobody
    is: those that ran are run one by one from now on, those that were decoded come back in halves, each with an engine to
    itself, so that the next death has fewer suspects. Where there is none, and for all others, nothing changes.
    """
    suspects = [_suspects(delivery, running, decoding) for delivery in unanswered]
    count = sum(map(len, suspects))
    again: list[Delivery] = []
    guilty: tuple[Delivery, int] | None = None
    for delivery, mine in zip(unanswered, suspects, strict=True):
        innocent = np.setdiff1d(delivery.unanswered(), mine, assume_unique=True)
        if count == 1 and len(mine):
            guilty = delivery, int(mine[0])
        elif len(mine):
            again += _isolated(delivery, mine, decoded=delivery.sequence == decoding)
        if len(innocent):
            again.append(delivery if len(innocent) == len(delivery) else delivery.part(innocent))
    return Verdict(again, guilty, count)


def _suspects(delivery: Delivery, running: Sequence[tuple[int, NDArray[np.int32]]], decoding: int | None) -> NDArray[np.int64]:
    """Indices of the jobs of ``delivery`` that are suspects, in order: none that is answered."""
    if delivery.sequence == decoding:
        return delivery.unanswered()
    ran = [indices for sequence, indices in running if sequence == delivery.sequence]
    if not ran:
        return np.empty(0, np.int64)
    indices = np.unique(np.concatenate(ran)).astype(np.int64)
    return indices[~delivery.answered[indices]]


def _isolated(delivery: Delivery, suspects: NDArray[np.int64], *, decoded: bool) -> list[Delivery]:
    if not decoded or len(suspects) == 1:
        return [delivery.part(suspects, Isolation.SOLO)]
    isolation = max(delivery.isolation, Isolation.ALONE)
    return [delivery.part(half, isolation) for half in np.array_split(suspects, 2)]
