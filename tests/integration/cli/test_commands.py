"""Every command against a fleet that `penstock up` keeps up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import redis
from confluent_kafka import Message, Producer
from tests.integration.cli.conftest import Fleet, clean_environment, penstock
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)  # TensorFlow and Kafka start, perhaps on a busy machine


def request(digits_model: Path, **more: object) -> str:
    """One held-out scan as JSON, in one line."""
    with np.load(digits_model.parent / "held-out.npz") as arrays:
        data = arrays["images"][0].ravel().tolist()
    return orjson.dumps({"inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": data}], **more}).decode()


def label(digits_model: Path) -> int:
    with np.load(digits_model.parent / "held-out.npz") as arrays:
        return int(arrays["labels"][0])


def likeliest(document: Any) -> int:
    (output,) = document["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [1, 10])
    return int(np.argmax(output["data"]))


def publish(up: Fleet, value: bytes) -> tuple[int, int]:
    """As kcat would: a record with neither key nor headers. Returns its partition and offset."""
    taken: list[tuple[int, int]] = []

    def delivered(error: object, message: Message) -> None:
        assert error is None
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        taken.append((partition, offset))

    producer = Producer({"bootstrap.servers": up.kafka, "linger.ms": 0})
    producer.produce("penstock.jobs", value, on_delivery=delivered)
    assert producer.flush(30) == 0
    return taken[0]


def first_line(up: Fleet, pattern: str) -> Any:
    """The JSON line of the outcome whose id matches, as `redis-cli GET` would show it; waits for it."""
    with redis.Redis.from_url(up.redis) as client:
        keys = f"penstock:result:{pattern}"
        eventually(lambda: list(client.scan_iter(keys, count=1000)), f"there is {keys}")
        (key,) = client.scan_iter(keys, count=1000)
        value = client.get(key)
    assert isinstance(value, bytes)
    return orjson.loads(value.split(b"\n")[0])


def test_a_job_of_nothing_but_json_is_answered_in_redis(up: Fleet, digits_model: Path) -> None:
    publish(up, request(digits_model, id="a1", model_name="digits").encode())
    outcome = first_line(up, "a1")
    assert (outcome["status"], outcome["id"], outcome["model_name"], outcome["model_version"]) == (
        "succeeded",
        "a1",
        "digits",
        "1",
    )
    assert likeliest(outcome) == label(digits_model)


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        (b"garbage \xff\x00", "invalid_job", r"JSON"),
        (b"", "invalid_job", r"empty"),
        (b'{"model_name":"nope","inputs":[]}', "unknown_model|invalid_job", r"nope|inputs"),
        (
            b'{"model_name":"nope","inputs":[{"name":"image","shape":[1],"datatype":"FP32","data":[1]}]}',
            "unknown_model",
            r"nope.*digits",
        ),
        (
            b'{"model_name":"digits","inputs":[{"name":"image","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}',
            "invalid_input",
            r"image.*\[1, 3\].*8, 8\]",
        ),
    ],
)
def test_a_job_that_cannot_be_ends_as_failed_with_a_sentence(up: Fleet, value: bytes, code: str, said: str) -> None:
    partition, offset = publish(up, value)
    outcome = first_line(up, f"~{partition}-{offset}-*")
    assert outcome["status"] == "failed"
    assert re.fullmatch(code, outcome["error_code"]), outcome
    assert re.search(said, outcome["error"], re.IGNORECASE), outcome


def test_the_addresses_are_told_in_one_line(up: Fleet) -> None:
    assert re.fullmatch(
        r"penstock is up: kafka 127\.0\.0\.1:\d+  redis redis://127\.0\.0\.1:\d+/0  fleet penstock  models digits\n", up.line
    )


def test_submit_prints_the_id_and_result_the_outcome(up: Fleet, digits_model: Path) -> None:
    submitted = up.run("submit", "digits", "-", "--id", "b1", stdin=request(digits_model))
    assert (submitted.returncode, submitted.stdout) == (0, "b1\n"), submitted.stderr
    shown = up.run("result", "b1", "--wait", "30", "--json")
    assert shown.returncode == 0, shown.stderr
    assert likeliest(orjson.loads(shown.stdout)) == label(digits_model)
    again = up.run("result", "b1")
    assert again.returncode == 0
    assert again.stdout.startswith("b1  succeeded  (digits 1, 1 attempt, from penstock.jobs-")


def test_arrays_are_submitted_from_npy_files(up: Fleet, digits_model: Path, tmp_path: Path) -> None:
    with np.load(digits_model.parent / "held-out.npz") as arrays:
        np.save(tmp_path / "scan.npy", arrays["images"][:1])
    done = up.run("submit", "digits", f"image={tmp_path / 'scan.npy'}", "--wait", "30", "--json")
    assert done.returncode == 0, done.stderr
    assert likeliest(orjson.loads(done.stdout)) == label(digits_model)


def test_a_failed_job_ends_with_1_and_its_reason(up: Fleet) -> None:
    wrong = '{"inputs":[{"name":"picture","shape":[1],"datatype":"FP32","data":[1]}]}'
    done = up.run("submit", "digits", "-", "--wait", "30", stdin=wrong)
    assert done.returncode == 1, done.stderr
    assert "invalid_input" in done.stdout
    assert "input 'image' is missing" in done.stdout


def test_a_result_that_is_not_there_ends_with_3(up: Fleet) -> None:
    done = up.run("result", "never-submitted")
    assert (done.returncode, done.stdout) == (3, "")
    assert "penstock:result:never-submitted" in done.stderr
    assert up.run("result", "never-submitted", "--wait", "0.2").returncode == 3


def test_services_that_are_not_there_end_with_4(digits_model: Path, tmp_path: Path) -> None:
    environment = {
        **clean_environment(),
        "PENSTOCK_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "PENSTOCK_REDIS__URL": "redis://127.0.0.1:1/0",
    }
    for arguments in (["result", "a"], ["submit", "digits", "-"], ["topics", "show"], ["doctor"]):
        done = penstock(arguments, tmp_path, environment, request(digits_model))
        assert (done.returncode, "Traceback" in done.stderr) == (4, False), (arguments, done.stderr)


def test_models_shows_signatures_and_a_job_that_works_when_pasted(up: Fleet, digits_model: Path) -> None:
    done = up.run("models", "--model", f"digits={digits_model}")
    assert done.returncode == 0, done.stderr
    assert "digits  version 1" in done.stdout
    assert re.search(r"input +image  FP32 \[-1, 8, 8\]", done.stdout)
    assert re.search(r"output +probabilities  FP32 \[-1, 10\]", done.stdout)
    example = done.stdout.split("a job: ")[1].splitlines()[0]
    assert up.run("submit", "digits", "-", "--wait", "30", stdin=example).returncode == 0


def test_topics_are_as_they_should_be_and_doctor_says_so(up: Fleet, digits_model: Path) -> None:
    shown = up.run("topics", "show")
    assert shown.returncode == 0, shown.stderr
    assert "penstock.outcomes  partitions=8 replication=1 " in shown.stdout
    done = up.run("doctor", "--model", f"digits={digits_model}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 6
    assert "model digits loads and answers (version 1)" in done.stdout


def test_topics_that_differ_are_shown_and_applied_and_doctor_says_what_to_do(up: Fleet) -> None:
    missing = up.run("topics", "show", "--fleet", "other")
    assert missing.returncode == 3
    assert "other.jobs: is missing" in missing.stdout
    doctor = up.run("doctor", "--fleet", "other")
    assert doctor.returncode == 3
    assert "run `penstock topics apply`" in doctor.stdout
    applied = up.run("topics", "apply", "--fleet", "other")
    assert applied.returncode == 0, applied.stderr
    assert "other.jobs: is missing" in applied.stdout
    assert up.run("topics", "show", "--fleet", "other").returncode == 0
    assert up.run("topics", "apply", "--fleet", "other").stdout == "the topics are as they should be\n"


def test_doctor_finds_a_redis_that_evicts(up: Fleet) -> None:
    with redis.Redis.from_url(up.redis) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = up.run("doctor")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 2
    assert "maxmemory-policy is allkeys-lru" in done.stdout
    assert "redis-cli CONFIG SET maxmemory-policy noeviction" in done.stdout


def test_doctor_finds_a_redis_that_takes_no_writes_and_leaves_nothing_in_one_that_does(up: Fleet) -> None:
    with redis.Redis.from_url(up.redis) as client:
        client.config_set("maxmemory", "1")
        try:
            done = up.run("doctor")
        finally:
            client.config_set("maxmemory", "0")
        assert done.returncode == 2, done.stdout + done.stderr
        assert "FAIL  Redis takes no writes: " in done.stdout
        well = up.run("doctor")
        assert "ok  Redis takes writes" in well.stdout
        assert "checking Redis …" in well.stderr
        assert list(client.scan_iter("*:doctor:*", count=1000)) == []


def test_schema_prints_the_documents(tmp_path: Path) -> None:
    for name in ("job", "outcome", "asyncapi"):
        done = penstock(["schema", name], tmp_path, clean_environment())
        assert done.returncode == 0
        assert isinstance(orjson.loads(done.stdout), dict)


def test_a_worker_refuses_a_wrong_configuration_before_it_starts(tmp_path: Path) -> None:
    done = penstock(["worker", "--roles", "nonsense"], tmp_path, clean_environment())
    assert done.returncode == 2
    assert "worker.roles" in done.stderr


def test_a_benchmark_tells_where_the_time_went_and_two_are_compared(up: Fleet, tmp_path: Path) -> None:
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    loads = ["--rate", "60", "--callers", "4", "--seconds", "2"]
    kinds = ["--job", "digits:1=3", "--job", "digits:4", "--input", "image=FP32[8,8]"]
    done = up.run("bench", *kinds, *loads, "--json", str(file), "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    assert "where a job's time went" in done.stdout
    assert picture.stat().st_size > 10_000
    runs = orjson.loads(file.read_bytes())["runs"]
    assert [run["load"] for run in runs] == ["open loop, 60 jobs/s, poisson", "closed loop, 4 callers"]
    for run in runs:
        assert run["status"] == {"succeeded": run["submitted"]}
        assert 0 < run["latency_ms"]["50"] <= run["latency_ms"]["99"] <= run["latency_ms"]["100"]
        stages = run["stages_us"]
        assert list(stages) == ["publish", "queue", "decode", "wait", "infer", "encode", "settle", "project"]
        assert all(time is not None for time in stages.values())
        assert stages["infer"] > 0
    assert runs[0]["submitted"] == pytest.approx(120, abs=50)
    same = up.run("bench", "--compare", str(file), str(file))
    assert same.returncode == 0
    assert "the same" in same.stdout
    assert "worse" not in same.stdout


def test_a_benchmark_says_what_it_lacks(up: Fleet) -> None:
    for arguments, needed in (
        (["--rate", "5"], "--job MODEL"),
        (["--job", "digits"], "--rate JOBS_A_SECOND"),
        (["--job", "digits", "--rate", "5"], "--input x=FP32[8,8]"),
        (["--job", "digits:0", "--rate", "5"], "such as digits:4=0.2"),
    ):
        done = up.run("bench", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert needed in done.stderr
