"""The repository keeps its own rules: it works on any machine, and its files stay small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGES = ("schemas", "producers", "workers")
ELSEWHERE = re.compile(
    r"""(?x)
    /work/ | /root/ | /home/(?!penstock\b)\w | /Users/\w          # a path of somebody's machine
    | \b(?:files\.)?python(?:hosted)\.org | \bpypi\.(?:org|io)     # where packages come from is each machine's own business
    | \bregistry\.npmjs | \brepo1?\.maven | \b(?:deb|archive|security)\.(?:debian|ubuntu)\.
    | --(?:extra-)?index-url | --find-links
    """
)


def texts(paths: list[Path]) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for path in paths:
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # a picture or a model
    return found


def test_no_file_names_a_machine_or_a_package_host(tree: list[Path], root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:100]}"
        for path, text in texts([path for path in tree if path != Path(__file__).resolve()])
        for number, line in enumerate(text.splitlines(), 1)
        if ELSEWHERE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ["see /work/x", "pip install --index-url https://example", "https://pypi.org/simple", "/root/.cache"]
)
def test_the_check_would_find_one(line: str) -> None:
    assert ELSEWHERE.search(line)


def test_files_are_small_enough_to_hold_in_the_head(tree: list[Path], root: Path) -> None:
    code = [path for path in tree if path.suffix in {".py", ".lua"} and path.relative_to(root).parts[0] in PACKAGES]
    lengths = {path.relative_to(root).as_posix(): len(text.splitlines()) for path, text in texts(code)}
    assert {path: length for path, length in lengths.items() if length >= 300} == {}


def test_modules_say_what_they_own(tree: list[Path], root: Path) -> None:
    modules = [path for path in tree if path.suffix == ".py" and path.relative_to(root).parts[0] in (*PACKAGES, "tests")]
    silent = [
        path.relative_to(root).as_posix() for path, text in texts(modules) if text and not text.startswith(('"""', 'r"""'))
    ]
    assert silent == []
