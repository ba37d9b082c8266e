"""Owns ending `penstock` as by SIGKILL at a named step of its n-th transaction: ``killed_redrive.py STEP N dead redrive …``.

Steps: ``begun``, ``produced`` (one record of it), ``sent`` (the broker has all of it), ``committed``.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from penstock.cli import main
from penstock.dead import sending


class DyingProducer:
    """A producer that counts transactions and kills its process at one step of one of them."""

    def __init__(self, producer: Any, step: str, number: int) -> None:
        self._producer = producer
        self._step = step
        self._left = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def begin_transaction(self) -> None:
        self._left -= 1
        self._producer.begin_transaction()
        self._die("begun")

    def produce(self, *arguments: Any, **options: Any) -> None:
        self._producer.produce(*arguments, **options)
        if self._step == "produced" and not self._left:
            self._producer.flush(30)
        self._die("produced")

    def commit_transaction(self, timeout: float) -> None:
        if self._step == "sent" and not self._left:
            self._producer.flush(30)
        self._die("sent")
        self._producer.commit_transaction(timeout)
        self._die("committed")

    def _die(self, step: str) -> None:
        if step == self._step and self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def dying(step: str, number: int) -> None:
    module: Any = sending
    make = module.Producer
    module.Producer = lambda settings: DyingProducer(make(settings), step, number)


if __name__ == "__main__":
    dying(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["penstock", *sys.argv[3:]]
    main()
