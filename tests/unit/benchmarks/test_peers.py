"""What the peers are run with: a caller that keeps every answer, environments that are pinned, records that all understand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import benchmarks.peers
import numpy as np
import pytest
from benchmarks.peers.caller import BadAnswer, answer_of, call, paced, request_of
from benchmarks.peers.pacing import pace
from benchmarks.processes import ROOT, by_role
from benchmarks.works import WORKS

FOLDER = Path(benchmarks.peers.__file__).parent


@contextmanager
def server(status: int = 200) -> Generator[ThreadingHTTPServer]:
    """Answers each request with what it was sent, twice."""

    class Twice(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])) * 2
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object, **__: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Twice) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield http
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize("size", [1, 3_000_000], ids=["small", "in many parts"])
def test_a_caller_gets_an_answer_to_each_request(size: int) -> None:
    with server() as http:
        found = call(http.server_port, request_of("/", "text/plain", b"x" * size), connections=3, count=20)
    assert found["answers"] == 20
    assert found["bytes"] == 20 * 2 * size
    assert found["per_second"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_a_caller_keeps_a_pace() -> None:
    with server() as http:
        found = paced(http.server_port, request_of("/", "text/plain", b"x"), connections=2, count=10, rate=200)
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_jobs_are_timed_from_when_they_were_due() -> None:
    submitted: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.03 if number == 3 else 0)  # a caller that stalls is charged for every job that was due meanwhile
        submitted.append(number)

    def arrived() -> list[int]:
        numbers = submitted[:]
        submitted.clear()
        return numbers

    found = pace(slow, arrived, rate=1000, count=20)
    assert found["p95_ms"] > 10
    with pytest.raises(TimeoutError):
        pace(lambda _: None, list, rate=1000, count=1, patience=0.01)


def test_a_caller_does_not_count_errors_as_answers() -> None:
    with server(503) as http, pytest.raises(BadAnswer, match="503"):
        call(http.server_port, request_of("/", "text/plain", b"x"), connections=1, count=1)


def test_an_answer_is_there_when_all_of_it_is() -> None:
    whole = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 4\r\n\r\nbody"
    assert [answer_of(whole[:end]) for end in (10, len(whole) - 5, len(whole) - 1, len(whole))] == [None, None, None, b"body"]
    with pytest.raises(BadAnswer):
        answer_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def test_what_a_peer_needs_is_pinned() -> None:
    found = {path.parent.name: path.read_text().splitlines() for path in FOLDER.glob("*/requirements.txt")}
    assert len(found) == 9
    assert all(lines and all("==" in line for line in lines) for lines in found.values())


@pytest.mark.parametrize("work", ["mlp", "json"])
def test_peers_that_read_kafka_understand_a_fleets_jobs(work: str) -> None:
    it = WORKS[work]
    code = """
import sys
from benchmarks.peers.records import job_of, outcome_of
from benchmarks.works import WORKS
work = WORKS[sys.argv[1]]
key, headers = work.key_and_headers(7)
job_id, row = job_of(key, work.value(), lambda: headers)
sys.stdout.buffer.write(job_id.encode() + row + outcome_of(job_id, row))
"""
    env = {**os.environ, "PEER_ROW": json.dumps(it.row)}
    ran = subprocess.run([sys.executable, "-c", code, work], cwd=ROOT, env=env, capture_output=True, check=True)
    job_id, rest = ran.stdout[:13], ran.stdout[13:]
    assert job_id == b"job-000000007"
    np.testing.assert_allclose(np.frombuffer(rest[:128], np.float32), it.array().ravel(), rtol=1e-6)
    head, _, answer = rest[128:].partition(b"\n")
    assert json.loads(head)["id"] == "job-000000007"
    assert answer == rest[:128]


def test_figures_of_a_roles_processes_are_added_up() -> None:
    assert by_role({"parent": 1.0, "child": 2.0, "child 12": 3.0}) == {"parent": 1.0, "child": 5.0}
