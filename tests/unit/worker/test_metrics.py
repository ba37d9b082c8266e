"""A worker's figures: histograms that are fed whole arrays count as Prometheus' own do, and probes tell the truth."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from tests.support import eventually

from penstock_worker.engine.wire import Stats
from penstock_worker.metrics import ROWS, SECONDS, BatchHistogram, MetricsServer, WorkerMetrics

BOUNDS = (0.1, 1.0, 2.5, 10.0)
values = st.floats(-1, 20) | st.sampled_from(BOUNDS)


@given(st.lists(st.lists(values, max_size=20), max_size=4))
@example([list(BOUNDS), [np.nextafter(1.0, 2), np.nextafter(1.0, 0), float("inf")]])
def test_batches_are_counted_as_prometheus_counts_single_values(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = BatchHistogram("h", "text", BOUNDS, ours)
    oracle = Histogram("h", "text", ["model", "stage"], buckets=BOUNDS, registry=theirs)
    for batch in batches:
        histogram.observe("m", "s", np.array(batch, np.float64))
        for value in batch:
            oracle.labels("m", "s").observe(value)
    labels = {"model": "m", "stage": "s"}
    for edge in [*map(float, BOUNDS), float("inf")]:
        assert bucket(ours, edge) == (bucket(theirs, edge) or 0 if batches else None)
    assert ours.get_sample_value("h_count", labels) == (theirs.get_sample_value("h_count", labels) or 0 if batches else None)
    assert (ours.get_sample_value("h_sum", labels) or 0) == pytest.approx(theirs.get_sample_value("h_sum", labels) or 0)


def bucket(registry: CollectorRegistry, edge: float) -> float | None:
    """The count of the bucket up to ``edge``, whichever way its label is written."""
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == "h_bucket" and float(sample.labels["le"]) == edge:
                return sample.value
    return None


def test_bounds_rise() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
    assert list(ROWS) == sorted(set(ROWS))


def figures(rows: int) -> Stats:
    queue = np.full(rows, 2_000_000).tobytes()
    return Stats("m", "1", rows, 10, 1000, 20, queue, np.zeros(rows, np.int64).tobytes())


def test_a_batch_is_counted_with_its_jobs_and_times_in_seconds() -> None:
    metrics = WorkerMetrics()
    metrics.batch(figures(3))
    metrics.batch(figures(5))
    sample = metrics.registry.get_sample_value
    assert sample("penstock_rows_total", {"model": "m", "version": "1"}) == 8
    assert sample("penstock_batches_total", {"model": "m", "version": "1"}) == 2
    assert sample("penstock_stage_seconds_count", {"model": "m", "stage": "queue"}) == 8
    assert sample("penstock_stage_seconds_sum", {"model": "m", "stage": "queue"}) == pytest.approx(16)
    assert sample("penstock_stage_seconds_count", {"model": "m", "stage": "infer"}) == 2
    assert sample("penstock_stage_seconds_sum", {"model": "m", "stage": "infer"}) == pytest.approx(0.002)
    assert sample("penstock_batch_rows_sum", {"model": "m", "stage": "infer"}) == 8


def test_jobs_that_are_tried_again_are_no_outcomes() -> None:
    metrics = WorkerMetrics()
    metrics.answered(5, ["engine_crash", "engine_crash", "model_error"], {("engine_crash", "engine_crash"): 2})
    sample = metrics.registry.get_sample_value
    assert sample("penstock_outcomes_total", {"code": "engine_crash"}) == 0, (
        "it is there, so that its first count is an increase"
    )
    assert sample("penstock_outcomes_total", {"code": "model_error"}) == 1
    assert sample("penstock_outcomes_total", {"code": ""}) == 2
    assert sample("penstock_retries_total", {"code": "engine_crash"}) == 2
    assert (metrics.totals["jobs"], metrics.totals["failed"], metrics.totals["retried"]) == (3, 1, 2)


def test_jobs_that_wait_for_a_resting_model_are_counted_as_that() -> None:
    metrics = WorkerMetrics()
    metrics.answered(3, ["model_error"] * 3, {("model_error", "model_unavailable"): 2})
    sample = metrics.registry.get_sample_value
    assert sample("penstock_retries_total", {"code": "model_unavailable"}) == 2
    assert sample("penstock_retries_total", {"code": "engine_crash"}) == 0
    assert sample("penstock_outcomes_total", {"code": "model_error"}) == 1


def test_outcomes_are_counted_by_code() -> None:
    metrics = WorkerMetrics()
    metrics.answered(5, ["model_error", "model_error", "too_large"], {})
    metrics.answered(2, ["model_error", "model_error"], {})
    sample = metrics.registry.get_sample_value
    assert sample("penstock_outcomes_total", {"code": ""}) == 2
    assert sample("penstock_outcomes_total", {"code": "model_error"}) == 4
    assert sample("penstock_outcomes_total", {"code": "too_large"}) == 1
    assert (metrics.totals["jobs"], metrics.totals["failed"]) == (7, 5)


class Probes:
    live: str | None = None
    ready: str | None = "is starting"


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def server(probes: Probes) -> Iterator[MetricsServer]:
    metrics = WorkerMetrics()
    metrics.batch(figures(3))
    server = MetricsServer(0, metrics.registry, lambda: probes.live, lambda: probes.ready)
    yield server
    server.close()


def get(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_answer_what_they_are_told(server: MetricsServer, probes: Probes) -> None:
    assert get(server, "/livez") == (200, "ok\n")
    assert get(server, "/readyz") == (503, "is starting\n")
    probes.ready, probes.live = None, "the loop stands still"
    assert get(server, "/readyz?verbose") == (200, "ok\n")
    assert get(server, "/livez") == (503, "the loop stands still\n")
    assert get(server, "/")[0] == 404


def test_metrics_are_in_prometheus_form(server: MetricsServer) -> None:
    status, text = get(server, "/metrics")
    assert status == 200
    assert 'penstock_rows_total{model="m",version="1"} 3.0' in text
    assert 'penstock_stage_seconds_bucket{le="+Inf",model="m",stage="queue"} 3.0' in text


@pytest.mark.parametrize(("goes", "told"), [(True, ""), (False, "ZeroDivisionError")])
def test_a_client_that_goes_away_is_no_news_but_a_probe_that_raises_is(
    probes: Probes, capsys: pytest.CaptureFixture[str], *, goes: bool, told: str
) -> None:
    answering: list[threading.Thread] = []
    client = socket.socket()

    def ready() -> str | None:
        answering.append(threading.current_thread())
        client.close()  # with a reset, as below: there is nobody to write the answer to
        return "away" if goes else str(1 // 0)

    server = MetricsServer(0, CollectorRegistry(), lambda: None, ready)
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        eventually(lambda: answering, "the probe is asked")
        answering[0].join()
        assert get(server, "/livez") == (200, "ok\n")
    finally:
        server.close()
    said = capsys.readouterr().err
    assert told in said
    assert bool(said) is bool(told)
