"""`penstock dead` against real Kafka and Redis: letters are listed, shown, counted, exported, and redriven once each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
import redis
from tests.integration.cli.dead_letters import (
    WRONG_VERSION,
    dead,
    dead_bytes,
    gap_letter,
    job_body,
    jobs_of,
    letter,
    read_topic,
    write_letters,
)

from penstock.dead.export import read_export
from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.headers import Header
from penstock_schemas.outcomes import encode_failed
from penstock_schemas.settings import Settings

if TYPE_CHECKING:
    from tests.support import MakeTopics, SettingsFactory

REFUSED = JobError(ErrorCode.MODEL_ERROR, "x must not be -1")
TRACE: list[Header] = [("traceparent", b"00-t-s-01"), ("odd", None), ("odd", b"\xff")]


@pytest.fixture
def fleet(settings: SettingsFactory, make_topics: MakeTopics) -> Settings:
    made = settings()
    make_topics(made)
    return made


@pytest.fixture
def letters(fleet: Settings) -> Settings:
    """A fleet with letters: two wrong versions (one of them twice), one refusal, a gap, a body that was not kept."""
    write_letters(
        fleet,
        [
            letter("a1", settings=fleet, offset=1, original=TRACE),
            letter("a1", settings=fleet, offset=1, original=TRACE),
            letter("a2", settings=fleet, offset=2),
            letter("b1", settings=fleet, offset=3, error=REFUSED, evidence="Traceback\n  ValueError: x must not be -1"),
            gap_letter(fleet),
            letter("c1", b"x" * 5000, settings=fleet, offset=4, max_bytes=3000),
        ],
    )
    return fleet


def test_letters_are_listed_once_each_as_text_and_as_json(letters: Settings, tmp_path: Path) -> None:
    listed = dead(letters, tmp_path, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    documents = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [one.get("id") for one in documents] == ["a1", "a2", "b1", None, "c1"]
    assert documents[0]["identity"] == f"{letters.names.jobs()}-0-1/0/1"
    assert documents[3]["gap"] == [100, 149]
    table = dead(letters, tmp_path, "list", "--code", "model_error")
    assert table.returncode == 0, table.stderr
    head, line = table.stdout.splitlines()
    assert head.split() == ["TIME", "CODE", "MODEL", "ID", "IDENTITY", "ERROR"]
    assert line.split()[1:4] == ["model_error", "double", "b1"]
    assert len(dead(letters, tmp_path, "list", "--json", "--limit", "2").stdout.splitlines()) == 2
    newest = dead(letters, tmp_path, "list", "--json", "--newest", "2").stdout.splitlines()
    assert len(newest) == 2
    assert set(newest) < set(listed.stdout.splitlines())
    narrow = dead(letters, tmp_path, "list", columns=60)
    assert all(len(line) <= 60 for line in narrow.stdout.splitlines()), narrow.stdout


@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        (["--model", "double", "--code", "unknown_version"], ["a1", "a2", "c1"]),
        (["--text", "MUST NOT"], ["b1"]),
        (["--id", "a2", "--id", "b1"], ["a2", "b1"]),
        (["--code", "gap"], [None]),
        (["--since", "1h", "--until", "2999-01-01T00:00:00Z", "--id", "a1"], ["a1"]),
        (["--not-redriven", "--id", "a1"], ["a1"]),
    ],
)
def test_filters_choose(letters: Settings, tmp_path: Path, flags: list[str], ids: list[str | None]) -> None:
    listed = dead(letters, tmp_path, "list", "--json", *flags)
    assert [json.loads(line).get("id") for line in listed.stdout.splitlines()] == ids


@pytest.mark.parametrize("command", ["list", "stats", "redrive", "log"])
def test_nothing_that_matches_ends_with_3(letters: Settings, tmp_path: Path, command: str) -> None:
    done = dead(letters, tmp_path, command, "--since", "2998-01-01T00:00:00Z")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr


@pytest.mark.parametrize("flags", [["--since", "yesterday"], ["--code", "nonsense"]])
def test_wrong_filters_end_with_2(letters: Settings, tmp_path: Path, flags: list[str]) -> None:
    done = dead(letters, tmp_path, "list", *flags)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


def test_a_fleet_without_its_topic_or_broker_is_told_of(settings: SettingsFactory, tmp_path: Path) -> None:
    assert dead(settings(), tmp_path, "list").returncode == 3
    away = dead(settings(kafka={"bootstrap_servers": "127.0.0.1:1"}), tmp_path, "list")
    assert (away.returncode, "Traceback" in away.stderr) == (4, False), away.stderr
    assert "does not answer" in away.stderr


def test_counts_are_by_model_code_and_hour(letters: Settings, tmp_path: Path) -> None:
    counted = orjson.loads(dead(letters, tmp_path, "stats", "--json").stdout)
    assert counted["letters"] == 5
    assert counted["gap_records"] == 50
    assert counted["codes"] == {"gap": 1, "model_error": 1, "unknown_version": 3}
    table = dead(letters, tmp_path, "stats").stdout
    assert "5 letters in all; the gaps are 50 records" in table
    sentences = orjson.loads(dead(letters, tmp_path, "stats", "--by", "error", "--json").stdout)
    assert (sentences["counts"][0]["code"], sentences["counts"][0]["letters"]) == ("unknown_version", 3)
    lines = dead(letters, tmp_path, "stats", "--by", "error").stdout.splitlines()
    assert lines[0].split() == ["LETTERS", "CODE", "MODEL", "ERROR"]
    assert lines[1].split(maxsplit=3) == ["3", "unknown_version", "double", WRONG_VERSION.message]
    assert lines[-1] == "5 letters in all"


def test_a_letter_is_shown_with_all_that_is_known(letters: Settings, tmp_path: Path) -> None:
    shown = dead(letters, tmp_path, "show", "b1")
    assert shown.returncode == 0, shown.stderr
    for words in ("ValueError: x must not be -1", "attempt 1  model_error  (double, w1)", '"model_name": "double"', "FP32"):
        assert words in shown.stdout
    assert "16 bytes: 1, 1, 1, 1" in shown.stdout
    again = dead(letters, tmp_path, "show", f"{letters.names.jobs()}-0-1/0/1")
    assert "traceparent" in again.stdout
    assert dead(letters, tmp_path, "show", "nobody").returncode == 3
    assert dead_bytes(letters, tmp_path, "show", "a1", "--raw") == job_body()
    assert dead(letters, tmp_path, "show", "c1", "--raw").returncode == 3


def test_an_export_is_read_again(letters: Settings, tmp_path: Path) -> None:
    lines, folder = tmp_path / "letters.jsonl", tmp_path / "letters"
    folder.mkdir()
    assert dead(letters, tmp_path, "export", "--output", str(lines)).returncode == 0
    assert dead(letters, tmp_path, "export", "--output", str(folder)).returncode == 0
    assert dead(letters, tmp_path, "export", "--output", str(lines)).returncode == 2
    by_line, by_file = ({one.identity: one for one in read_export(path)} for path in (str(lines), folder))
    assert by_line == by_file
    assert len(by_line) == 5
    first = by_line[f"{letters.names.jobs()}-0-1/0/1"]
    assert first.body == job_body()
    assert list(first.own) == TRACE


def test_a_redrive_says_what_it_would_do_does_it_once_and_is_on_record(letters: Settings, tmp_path: Path) -> None:
    dry = dead(letters, tmp_path, "redrive", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 letters would be redriven; 3 left as they are" in dry.stdout
    told = dry.stdout[dry.stdout.index("would be redriven\n") :]
    assert re.search(r"hour \(UTC\) .*total\n +\d{4}-\d\d-\d\d \d\d:00 .* \d\n", told), "by model, code and hour"
    assert sum(int(line.split()[-1]) for line in told.splitlines() if re.match(r" +\d{4}-", line)) == 3
    assert jobs_of(letters) == []
    done = dead(letters, tmp_path, "redrive", "--yes", "--reason", "version 9 is there")
    assert done.returncode == 0, done.stderr
    sent = {key: (value, headers) for key, value, headers in jobs_of(letters)}
    assert sorted(sent) == ["a1", "a2", "b1"]
    value, headers = sent["a1"]
    assert value == job_body()
    assert headers == [
        ("penstock-id", b"a1"),
        ("penstock-generation", b"1"),
        ("penstock-redriven", f"{letters.names.jobs()}-0-1/0/1".encode()),
        *TRACE,
    ]
    again = dead(letters, tmp_path, "redrive", "--yes")
    assert again.returncode == 3
    assert "3  redriven before" in again.stdout
    log = [json.loads(line) for line in dead(letters, tmp_path, "log", "--json").stdout.splitlines()]
    assert sorted(one["identity"] for one in log) == [f"{letters.names.jobs()}-0-{number}/0/1" for number in (1, 2, 3)]
    assert all("@" in one["by"] and one["generation"] == 1 and one["reason"] == "version 9 is there" for one in log)
    assert sorted(one["id"] for one in log) == ["a1", "a2", "b1"]
    head, line = dead(letters, tmp_path, "log", "--id", "a2", "--model", "double").stdout.splitlines()
    assert head.split() == ["TIME", "BY", "ID", "GENERATION", "IDENTITY", "REASON"]
    assert line.split(maxsplit=5)[2:] == ["a2", "1", f"{letters.names.jobs()}-0-2/0/1", "version 9 is there"]
    assert dead(letters, tmp_path, "log", "--id", "nobody").returncode == 3
    assert "as generation 1: version 9 is there" in dead(letters, tmp_path, "show", "a2").stdout
    assert len(dead(letters, tmp_path, "list", "--redriven", "--json").stdout.splitlines()) == 3
    assert len(dead(letters, tmp_path, "list", "--not-redriven", "--json").stdout.splitlines()) == 2
    assert dead(letters, tmp_path, "redrive", "--yes", "--again", "--id", "a1").returncode == 0
    assert len(jobs_of(letters)) == 4
    assert len(read_topic(letters, letters.names.dead)) == 6 + 4


def test_a_mended_body_keeps_its_tensors_and_is_checked_before_it_is_sent(letters: Settings, tmp_path: Path) -> None:
    wrong = dead(letters, tmp_path, "redrive", "--yes", "--id", "a1", "--set", "model_version=3")
    assert wrong.returncode == 3
    assert "a1: invalid_job: model_version is 3; it must be a string" in wrong.stdout
    done = dead(letters, tmp_path, "redrive", "--yes", "--id", "a1", "--set", 'model_version="1"')
    assert done.returncode == 0, done.stdout
    hook = tmp_path / "mend.py"
    hook.write_text(
        "def edit(letter):\n    if letter.id != 'a2':\n        return None\n    document = letter.document()\n"
        "    document['parameters'] = {'timeout': 5_000_000}\n    return letter.replaced(document)\n"
    )
    edited = dead(letters, tmp_path, "redrive", "--yes", "--edit", str(hook))
    assert edited.returncode == 0, edited.stdout
    assert "1  left out by the function of --edit" in edited.stdout
    sent = {key: value for key, value, _ in jobs_of(letters)}
    assert sorted(sent) == ["a1", "a2"]
    line, _, raw = sent["a1"].partition(b"\n")
    assert orjson.loads(line)["model_version"] == "1"
    assert raw == sent["a2"].partition(b"\n")[2] == job_body().partition(b"\n")[2]
    assert orjson.loads(sent["a2"].partition(b"\n")[0])["parameters"] == {"timeout": 5_000_000}


def test_guards_leave_what_should_not_go(fleet: Settings, tmp_path: Path) -> None:
    topic = fleet.names.jobs()
    write_letters(
        fleet,
        [
            letter("fits", settings=fleet, offset=1),
            letter("other", settings=fleet, offset=2),
            letter("elsewhere", settings=fleet, offset=3, topic="others.jobs"),
            letter("thrice", settings=fleet, offset=4, generation=3),
            letter("late", settings=fleet, offset=5, original=[("ce_deadline", b"2020-01-01T00:00:00Z")]),
            letter("gone", settings=fleet, offset=6),
        ],
    )

    def failed(job_id: str, error: JobError, offset: int) -> bytes:
        return encode_failed(id=job_id.encode(), status="failed", error=error, origin=f"{topic}-0-{offset}")

    with redis.Redis.from_url(fleet.redis.url) as client:
        client.set(fleet.names.result_key("fits"), failed("fits", WRONG_VERSION, 1))
        client.set(fleet.names.result_key("other"), b'{"status":"succeeded","generation":0,"id":"other"}\nraw')
        client.set(fleet.names.result_key("late"), failed("late", WRONG_VERSION, 5))
    dry = dead(fleet, tmp_path, "redrive")
    assert "2 letters would be redriven; 4 left as they are" in dry.stdout, dry.stdout
    assert "other: succeeded, generation 0" in dry.stdout
    flags = ["--unchecked", "--deadline", "60", "--max-generation", "4", "--yes"]
    done = dead(fleet, tmp_path, "redrive", *flags)
    assert "5 letters redriven; 1 left as it is" in done.stdout, done.stdout
    sent = {key: dict(headers) for key, _, headers in jobs_of(fleet)}
    assert sorted(sent) == ["fits", "gone", "late", "other", "thrice"]
    assert sent["thrice"]["penstock-generation"] == b"4"
    assert (sent["late"]["ce_deadline"] or b"") > b"2026"
    nowhere = fleet.model_copy(update={"redis": fleet.redis.model_copy(update={"url": "redis://127.0.0.1:1/0"})})
    away = dead(nowhere, tmp_path, "redrive", "--again")
    assert (away.returncode, "Traceback" in away.stderr) == (4, False), away.stderr
    assert "--unchecked" in away.stderr
