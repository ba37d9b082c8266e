"""Owns what a redrive makes of jobs: the function that mends them, and the right answers of what it sends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from tests.faults.jobs import Expected
from tests.faults.records import Accepted

from penstock_schemas.headers import PENSTOCK_GENERATION, PENSTOCK_ID, first_values

if TYPE_CHECKING:
    from tests.faults.life import Life
    from tests.faults.records import Record

HOOK: Final = '''\
import numpy as np


def edit(letter):
    """The numbers with which a row makes the model misbehave are negative."""
    return letter.replaced(letter.document(), np.abs(np.frombuffer(letter.raw(), "<f4")).tobytes())
'''
"""For ``--edit``."""


def adopt(life: Life) -> None:
    """Count the jobs that redrives have sent among those that were accepted."""
    known = {(job.partition, job.offset) for job in life.accepted}
    originals = {job.id: job for job in life.accepted}
    for record in life.job_records():
        if (record.partition, record.offset) not in known:
            life.accepted.append(_redriven(record, originals))


def _redriven(record: Record, originals: dict[str, Accepted]) -> Accepted:
    headers = first_values(record.headers)
    generation, job_id = int(headers.get(PENSTOCK_GENERATION, b"0")), headers.get(PENSTOCK_ID, b"").decode()
    original = originals.get(job_id)
    where = f"the record at {record.partition}-{record.offset} of the jobs topic"
    assert generation, f"{where} is none that was submitted"
    assert original is not None, f"{where} is a job {job_id!r} that was never submitted"
    raw = (record.value or b"").partition(b"\n")[2]
    outputs = {"y": 2 * np.frombuffer(raw, "<f4").reshape(-1, 4)}
    job = replace(
        original.job,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        expected=Expected("succeeded", outputs=outputs),
        generation=generation,
    )
    return Accepted(job, record.partition, record.offset, record.time_ms)
