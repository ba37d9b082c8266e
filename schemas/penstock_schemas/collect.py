"""Owns putting decoded jobs together: single jobs and stacks of them become one group a request, each array filled once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_schemas.reading import SingleValues
from penstock_schemas.records import JobGroup
from penstock_schemas.requests import Request, TensorPlan
from penstock_schemas.tensors import stack_strings, stack_values

Stack = tuple[NDArray[np.int64], dict[str, NDArray[Any]]]
"""Jobs that are stacked already: which records they are, and their inputs."""


@dataclass(slots=True)
class _Pile:
    """Single jobs of one request: their values joined per tensor, as bytes, or as elements for BYTES."""

    request: Request
    plans: tuple[TensorPlan, ...]
    columns: list[bytearray | list[bytes]]
    indices: list[int] = field(default_factory=list[int])

    def stack(self) -> Stack:
        jobs = len(self.indices)
        inputs: dict[str, NDArray[Any]] = {}
        for plan, column in zip(self.plans, self.columns, strict=True):
            if isinstance(column, bytearray):
                inputs[plan.spec.name] = stack_values(column, jobs, plan)
            else:
                inputs[plan.spec.name] = stack_strings(column, (jobs, *plan.spec.shape))
        return np.array(self.indices, np.int64), inputs


class Collector:
    """Gathers the jobs of one delivery. Requests come as the same object for jobs of a kind: that is found by identity."""

    def __init__(self) -> None:
        self._piles: dict[int, _Pile] = {}
        self._stacks: list[tuple[Request, Stack]] = []

    def add_stack(self, request: Request, stack: Stack) -> None:
        self._stacks.append((request, stack))

    def add(self, request: Request, plans: tuple[TensorPlan, ...], index: int, values: SingleValues) -> None:
        """Add one job's values; they are copied (BYTES elements are kept)."""
        pile = self._piles.get(id(request))
        if pile is None:
            # The pile holds the request, so its id cannot come to mean another one.
            pile = _Pile(request, plans, [[] if plan.nbytes is None else bytearray() for plan in plans])
            self._piles[id(request)] = pile
        pile.indices.append(index)
        for column, value in zip(pile.columns, values, strict=True):
            column += value  # type: ignore[operator]  # Plans see to it: bytes to bytearrays, lists to lists.

    def groups(self) -> list[JobGroup]:
        """One group for each request that is equal, whichever way its jobs came."""
        by_request: dict[Request, list[Stack]] = {}
        for request, stack in self._stacks:
            by_request.setdefault(request, []).append(stack)
        for pile in self._piles.values():
            by_request.setdefault(pile.request, []).append(pile.stack())
        return [_join(request, stacks) for request, stacks in by_request.items()]


def _join(request: Request, stacks: list[Stack]) -> JobGroup:
    if len(stacks) == 1:
        return JobGroup(request, *stacks[0])
    indices = np.concatenate([indices for indices, _ in stacks])
    names = stacks[0][1]
    return JobGroup(request, indices, {name: np.concatenate([inputs[name] for _, inputs in stacks]) for name in names})
