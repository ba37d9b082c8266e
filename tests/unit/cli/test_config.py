"""`penstock config`: every key, its default, its value, its source; and the page made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.common import Flags, parse_models
from penstock.cli.config import all_keys, markdown, show_config
from penstock.cli.exits import CommandError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], flags: Flags | None = None) -> dict[str, str]:
    """What is said of each key, by ``section.key``."""
    show_config(flags or Flags())
    section, found = "", dict[str, str]()
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " = " in line and not line.startswith(" "):
            key, _, rest = line.partition(" = ")
            found[section + key] = rest
    return found


def test_the_page_is_what_the_code_says() -> None:
    page = ROOT / "docs" / "configuration.md"
    assert page.is_file(), "make docs"
    assert page.read_text() == markdown(), "the settings changed: make docs"


def test_every_key_has_a_meaning_and_says_what_is_allowed() -> None:
    for key in all_keys():
        assert key.meaning.endswith("."), key
        assert key.allowed, key


def test_a_default_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys)["kafka.bootstrap_servers"] == '"localhost:9092"   (default)'


def test_each_source_is_named_and_flags_win_over_the_environment_and_that_over_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("penstock.toml").write_text('fleet = "a"\n[worker]\nwindow = 5\n[redis]\ntimeout = 2.0\n')
    monkeypatch.setenv("PENSTOCK_FLEET", "b")
    monkeypatch.setenv("PENSTOCK_WORKER__WINDOW", "6")
    found = shown(capsys, Flags(fleet="c"))
    assert found["fleet"] == '"c"   (flag; default "penstock")'
    assert found["worker.window"] == "6   (environment; default 4)"
    assert found["redis.timeout"] == "2.0   (penstock.toml; default 5.0)"


def test_a_models_keys_are_shown_under_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = shown(capsys, Flags(models=[f"a.b={tmp_path}"]))
    assert found["models.a.b.path"] == f'"{tmp_path}"   (flag; default required)'
    assert found["models.a.b.max_batch_rows"].endswith("(default)")


def test_passwords_are_not_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS__URL", "redis://me:hush@host:1/0")
    monkeypatch.setenv("PENSTOCK_KAFKA__PROPERTIES", '{"sasl.password": "hush", "sasl.username": "me"}')
    show_config(Flags())
    out = capsys.readouterr().out
    assert "hush" not in out
    assert "redis://me:•••@host:1/0" in out
    assert '"sasl.username":"me"' in out


@pytest.mark.parametrize("text", ["digits", "=path", "digits=", "digits=/no/such/folder"])
def test_a_model_flag_that_cannot_be_is_told(text: str) -> None:
    with pytest.raises(CommandError, match="--model"):
        parse_models([text])
