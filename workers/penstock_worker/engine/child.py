"""Owns an engine at work: one thread that runs models, one that reads and decodes beside it.

It ends when the parent says so, or when the parent is gone.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from penstock_worker.engine import wire
from penstock_worker.engine.answers import Answers, stats
from penstock_worker.engine.assembly import Assembler, Piece
from penstock_worker.engine.block import Block
from penstock_worker.engine.runner import run
from penstock_worker.engine.wire import Answer, Kind, Running, Stats

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

    from penstock_schemas.settings import Settings
    from penstock_worker.engine.reader import Reader
    from penstock_worker.engine.slots import Slots


class Engine:
    """The two threads and what they share, guarded by one condition."""

    def __init__(self, pipe: Connection, deliveries: Slots, answers: Slots, settings: Settings, reader: Reader) -> None:
        self._pipe = pipe
        self._deliveries = deliveries
        self._answers = answers
        self._reader = reader
        self._encoder = Answers(settings.topics.max_outcome_bytes)
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        half = settings.worker.window / 2  # the parent sends no more until some of that is answered
        self._assembler: Assembler[Block] = Assembler(
            half * settings.worker.delivery_records, half * settings.worker.delivery_bytes
        )
        self._running: list[Piece[Block]] | None = None
        """What the parent was last told to be running."""
        self._refused: list[Answer] = []
        self._free = deque(range(answers.count))
        self._stopping = False

    def run(self) -> None:
        """Serve until told to stop and idle, or until the parent is gone."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while True:
            with self._changed:
                while not self._refused and (delay := self._assembler.delay(time.monotonic())) != 0:
                    if self._stopping and delay is None:
                        return
                    self._changed.wait(delay)
                refused, self._refused = self._refused, []
                batch = self._assembler.take(time.monotonic())
            if refused:
                self._publish(refused, None)
            if batch:
                self._run(batch)

    def _run(self, batch: list[Piece[Block]]) -> None:
        started_at = time.monotonic()
        begin = time.perf_counter_ns()
        ran = run(batch, self._about)
        ended = time.perf_counter_ns()
        infer_us = (ended - begin) // 1000
        if infer_us > batch[0].block.route.version.settings.timeout * 1e5:
            self._send(wire.token(Kind.RUNNING))  # what comes now is not the model's time
        answers: list[Answer] = []
        waits: list[NDArray[np.int64]] = []
        for result in ran:
            answer, wait_us = self._encoder.succeeded(result, infer_us, started_at)
            answers.append(answer)
            waits.append(wait_us)
        self._publish(answers, stats(ran, infer_us, (time.perf_counter_ns() - ended) // 1000, waits))
        self._running = None

    def _about(self, pieces: list[Piece[Block]]) -> None:
        """Tell the parent what is about to be run, and how long that may take."""
        version = pieces[0].block.route.version
        body = b""
        if pieces is not self._running:
            self._running = pieces
            jobs = [(piece.block.sequence, piece.block.indices[piece.begin : piece.end]) for piece in pieces]
            body = wire.pack_running(Running(version.name, version.version, jobs))
        self._send(wire.token(Kind.RUNNING, int(version.settings.timeout * 1e6), body=body))

    def _publish(self, answers: list[Answer], figures: Stats | None) -> None:
        """Send ``answers``, in as many slots as they need; with ``figures`` if they are a batch's."""
        whole_batch = figures is not None
        pending: list[Answer] = []
        size = 0
        limit = self._answers.size - 64 * 1024
        if figures is not None:
            columns = len(figures.queue_us) + len(figures.wait_us)
            if columns > limit // 2:
                figures = None  # figures of a batch so large are not worth a slot of their own
            else:
                limit -= columns
        for answer in (part for whole in answers for part in _cut(whole, limit)):
            more = wire.answers_size(answer)
            if pending and size + more > limit:
                self._send_answers(pending, None, last=False)
                pending, size = [], 0
            pending.append(answer)
            size += more
        self._send_answers(pending, figures, last=whole_batch)

    def _send_answers(self, answers: list[Answer], figures: Stats | None, *, last: bool) -> None:
        with self._changed:
            while not self._free:
                self._changed.wait()
            slot = self._free.popleft()
        wire.write_answers(answers, figures, self._answers.view(slot))
        self._send(wire.token(Kind.ANSWERS, slot, int(last)))

    def _send(self, token: bytes) -> None:
        try:
            with self._sending:
                self._pipe.send_bytes(token)
        except OSError:
            _end()

    def _read(self) -> None:
        try:
            while True:
                kind, first, second, _ = wire.read_token(self._pipe.recv_bytes())
                if kind is Kind.DELIVERY:
                    self._take(first, second)
                    continue
                with self._changed:
                    if kind is Kind.ANSWERS_READ:
                        self._free.append(first)
                    elif kind is Kind.STOP:
                        self._stopping = True
                    self._changed.notify()
        except (EOFError, OSError):
            _end()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent must notice
            sys.excepthook(
                type(error), error, error.__traceback__
            )  # a bug of ours, not a job's: the parent restarts us and keeps the jobs
            os._exit(1)

    def _take(self, slot: int, sequence: int) -> None:
        arrived = wire.read_delivery(self._deliveries.view(slot))
        blocks, refused = self._reader.read(sequence, arrived)
        del arrived
        self._send(wire.token(Kind.DELIVERY_READ, slot))
        with self._changed:
            for block in blocks:
                inner = tuple(
                    (spec.name, spec.shape[1:] if block.route.policy.batched else spec.shape) for spec in block.request.inputs
                )
                self._assembler.add((id(block.route.version), block.route.signature_name, inner), block.route.policy, block)
            if refused is not None:
                self._refused.append(refused)
            self._changed.notify()


def _end() -> NoReturn:
    """The parent is gone: what was in flight is another worker's now."""
    os._exit(0)


def _cut(answer: Answer, limit: int) -> list[Answer]:
    """``answer`` in parts that each fit ``limit`` bytes (one outcome alone always does)."""
    if len(answer.values) <= 1 or wire.answers_size(answer) <= limit:
        return [answer]
    middle = len(answer.values) // 2
    parts: list[Answer] = []
    for begin, end in ((0, middle), (middle, len(answer.values))):
        keys = None if answer.keys is None else answer.keys[begin:end]
        mine = memoryview(answer.indices)[begin * 4 : end * 4]
        failures = {index: answer.failures[index] for index in mine.cast("i") if index in answer.failures}
        expired = answer.expired if begin == 0 else 0  # only their sum counts
        parts += _cut(
            Answer(answer.sequence, mine.tobytes(), keys, answer.values[begin:end], failures, expired, answer.model), limit
        )
    return parts
