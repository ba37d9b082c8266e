"""Owns keeping a library's start-up chatter out of the log, unless it ends in an error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Generator[None]:
    """Hold back what is written to the process' stderr, by C++ code too; it is shown where the block raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        before = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(before, 2)
            os.close(before)
            if failed:
                held.seek(0)
                os.write(2, held.read())
