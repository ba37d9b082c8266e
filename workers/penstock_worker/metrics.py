"""Owns a worker's figures: counters and timing histograms in Prometheus' form, and the probes beside them."""

from __future__ import annotations

import sys
import threading
from collections import Counter as Counted
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from penstock_schemas.errors import ErrorCode
from penstock_worker.settle.policy import TRANSIENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock_worker.engine.wire import Stats

RETRIED: Final = (*sorted(TRANSIENT), ErrorCode.UNKNOWN_VERSION, ErrorCode.MODEL_UNAVAILABLE)
"""Why jobs may be given another try."""
Probe = Callable[[], str | None]
"""None: well. Else what is wrong, in a sentence."""

SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)


class BatchHistogram(Collector):
    """A histogram that is fed whole arrays: one search over the buckets a batch instead of one call a job."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._bounds = np.array(bounds)
        self._series: dict[tuple[str, str], tuple[NDArray[np.int64], float]] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, model: str, stage: str, values: NDArray[np.float64]) -> None:
        """Count ``values`` (any shape) for one model and stage."""
        counts = np.bincount(np.searchsorted(self._bounds, values.ravel()), minlength=len(self._bounds) + 1)
        with self._lock:
            before, total = self._series.get((model, stage), (np.zeros(len(self._bounds) + 1, np.int64), 0.0))
            self._series[model, stage] = before + counts, total + float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=["model", "stage"])
        edges = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        with self._lock:
            for (model, stage), (counts, total) in self._series.items():
                family.add_metric([model, stage], list(zip(edges, np.cumsum(counts).tolist(), strict=True)), total)
        yield family


class WorkerMetrics:
    """The figures of the work role. Counted by batch, never by job."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.outcomes = Counter(
            "penstock_outcomes", "Outcomes published, by error code where there is one.", ["code"], registry=self.registry
        )
        self.rows = Counter("penstock_rows", "Rows that went through a model.", ["model", "version"], registry=self.registry)
        self.batches = Counter("penstock_batches", "Batches that were run.", ["model", "version"], registry=self.registry)
        self.restarts = Counter("penstock_engine_restarts", "Engines that died and were started again.", registry=self.registry)
        self.retries = Counter("penstock_retries", "Jobs given another try later, by error.", ["code"], registry=self.registry)
        self.takeovers = Histogram(
            "penstock_engine_takeover_seconds",
            "From an engine's death until the next one serves.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.gaps = Counter("penstock_gap_records", "Jobs that retention deleted unread.", registry=self.registry)
        self.in_flight = Gauge("penstock_jobs_in_flight", "Jobs taken in and not settled.", registry=self.registry)
        self.partitions = Gauge("penstock_partitions", "Job partitions assigned.", registry=self.registry)
        self.stages = BatchHistogram("penstock_stage_seconds", "Time of jobs by stage of their way.", SECONDS, self.registry)
        self.batch_rows = BatchHistogram("penstock_batch_rows", "Rows in a batch.", ROWS, self.registry)
        for code in ("", *ErrorCode):  # a series that begins with its first count has no increase
            self.outcomes.labels(str(code))
        for code in RETRIED:
            self.retries.labels(code)
        self.totals = {"jobs": 0, "failed": 0, "retried": 0, "batches": 0, "rows": 0}
        """The same for the summary line in the log, since the start."""

    def batch(self, figures: Stats) -> None:
        """Count one batch."""
        model, version = figures.model, figures.version
        self.rows.labels(model, version).inc(figures.rows)
        self.batches.labels(model, version).inc()
        self.totals["batches"] += 1
        self.totals["rows"] += figures.rows
        self.stages.observe(model, "queue", np.frombuffer(figures.queue_us, np.int64) / 1e6)
        self.stages.observe(model, "batch_wait", np.frombuffer(figures.wait_us, np.int64) / 1e6)
        for stage, time_us in (("decode", figures.decode_us), ("infer", figures.infer_us), ("encode", figures.encode_us)):
            self.stages.observe(model, stage, np.array([time_us / 1e6]))
        self.batch_rows.observe(model, "infer", np.array([float(figures.rows)]))

    def answered(self, jobs: int, codes: list[str], retried: Mapping[tuple[str, str], int]) -> None:
        """Count ``jobs`` answers: as many as there are ``codes`` failed, and of those some are ``retried``.

        These by the code that they failed with, and by the one for which they wait: it is another where their model rests.
        """
        later = sum(retried.values())
        ended = Counted(codes)
        for (code, why), count in retried.items():
            ended[code] -= count
            self.retries.labels(why).inc(count)
        self.totals["jobs"] += jobs - later
        self.totals["failed"] += len(codes) - later
        self.totals["retried"] += later
        if jobs > len(codes):
            self.outcomes.labels("").inc(jobs - len(codes))
        for code, count in ended.items():
            self.outcomes.labels(code).inc(max(0, count))


class ProjectorMetrics:
    """The figures of the project role, and what its probe needs to know. Counted by batch."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._results = Counter("penstock_results", "Outcomes by what became of them in Redis.", ["applied"], registry=registry)
        self._skipped = Counter("penstock_skipped_outcomes", "Records passed over.", ["reason"], registry=registry)
        self._starts = Counter("penstock_projector_starts", "Partitions begun, or begun again.", ["cause"], registry=registry)
        self._available = Gauge("penstock_redis_available", "Whether Redis takes results.", registry=registry)
        self._lag = Gauge("penstock_projector_lag", "Outcomes that are not in Redis yet.", registry=registry)
        self.is_serving = False
        """Whether the projector has begun to serve."""
        self.kafka_problem: str | None = None
        """Why no outcomes come from Kafka now, or None."""
        self._is_available = True

    def ready(self) -> str | None:
        """Why results do not reach Redis now, or None."""
        if not self.is_serving:
            return "is starting"
        return self.kafka_problem if self._is_available else "Redis takes no results"

    def projected(self, written: int, present: int) -> None:
        """Outcomes that were written, and outcomes that were not because an earlier one stands."""
        self._results.labels("first").inc(written)
        self._results.labels("repeat").inc(present)

    def skipped(self, garbage: int, expired: int) -> None:
        """Records that are no outcomes, and outcomes that had their time already."""
        self._skipped.labels("garbage").inc(garbage)
        self._skipped.labels("expired").inc(expired)

    def started(self, cause: str) -> None:
        """A partition's reading started, or started again somewhere else."""
        self._starts.labels(str(cause)).inc()

    def store_available(self, available: bool) -> None:  # noqa: FBT001  # a gauge
        """Redis went away, or came back."""
        self._is_available = available
        self._available.set(available)

    def lag(self, records: int) -> None:
        """Records in the topic that are not in Redis yet."""
        self._lag.set(records)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what a handler raised, but not of clients that went away before they had their answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class MetricsServer:
    """``/metrics``, ``/livez`` and ``/readyz`` on one port, from a thread of its own."""

    def __init__(self, port: int, registry: CollectorRegistry, live: Probe, ready: Probe) -> None:
        """Listens on all addresses; ``port`` 0 takes any free one. Raises OSError where the port is taken."""
        probes = {"/livez": live, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif path in probes:
                    problem = probes[path]()
                    self._answer(200 if problem is None else 503, "text/plain; charset=utf-8", f"{problem or 'ok'}\n".encode())
                else:
                    self._answer(404, "text/plain; charset=utf-8", b"there are /metrics, /livez and /readyz\n")

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
                """Scrapes are no news."""

        self._server = _Server(("", port), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
