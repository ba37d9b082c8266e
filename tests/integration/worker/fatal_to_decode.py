"""The tests' numpy backend in an engine whose decoder is killed by any record that holds the word FATAL.

It leaves a process behind that has all that it had open; where the record holds LEAVING, one that has closed it.
"""

from __future__ import annotations

import os
import signal
import time

from numpy_models import open_backend  # type: ignore[import-not-found]  # on the path of the tests' engines only

from penstock_schemas.jobs import Decoded, JobDecoder, Records
from penstock_worker.engine import start

__all__ = ["open_backend"]


class _Fragile(JobDecoder):
    def decode(self, records: Records, now_ms: int) -> Decoded:
        held = bytes(records.buffer)
        if b"FATAL" in held:
            if os.fork() == 0:
                if b"LEAVING" in held:
                    os.closerange(3, 1024)
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().decode(records, now_ms)


start.JobDecoder = _Fragile  # type: ignore[attr-defined]  # it stands in for a decoder with a fault
