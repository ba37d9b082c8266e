"""Owns load at a pace: jobs come evenly apart whatever happens to those before, and each is timed from when it was due.

Imports numpy only, as callers run in their peer's environment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

WARM = 0.1
"""This part of the jobs comes first and is not counted."""
_NAP = 0.0002


def pace(
    submit: Callable[[int], None], arrived: Callable[[], Iterable[int]], rate: float, count: int, patience: float = 60.0
) -> dict[str, Any]:
    """Submit jobs 0 to ``count`` at ``rate`` a second; ``arrived`` gives those whose results have come since it was last asked.

    Returns milliseconds from due to there, as percentiles. Raises TimeoutError where no result comes for ``patience`` seconds.
    """
    took = np.full(count, np.nan)
    begin = time.perf_counter() + 0.1
    submitted = missing = 0
    heard = begin
    while submitted < count or missing:
        now = time.perf_counter()
        if submitted < count and now >= begin + submitted / rate:
            submit(submitted)
            submitted, missing = submitted + 1, missing + 1
            continue
        for number in arrived():
            heard = time.perf_counter()
            took[number] = heard - (begin + number / rate)
            missing -= 1
        if missing and now - heard > patience:
            raise TimeoutError(f"{missing} results did not come within {patience} s")
        time.sleep(_NAP)
    counted = took[int(count * WARM) :] * 1000
    p50, p95, p99 = np.percentile(counted, [50, 95, 99])
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "per_second": rate}
