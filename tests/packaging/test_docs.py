"""What the documents say is there: links lead somewhere, the Makefile has its targets, every error code is explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from penstock_schemas.errors import ErrorCode

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def documents(tree: list[Path]) -> list[Path]:
    return [path for path in tree if path.suffix == ".md"]


@pytest.fixture(scope="module")
def targets(root: Path) -> set[str]:
    listing = subprocess.run(["make", "--no-print-directory"], cwd=root, capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listing.splitlines()[1:]}


def anchors(text: str) -> set[str]:
    """The fragments that a page's headings have where it is shown."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(documents: list[Path], root: Path) -> None:
    broken: list[str] = []
    for page in documents:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if re.match(r"\w+:", link):
                continue  # elsewhere in the world
            name, _, fragment = link.partition("#")
            target = (page.parent / name) if name else page
            if not target.exists() or (fragment and fragment not in anchors(target.read_text(encoding="utf-8"))):
                broken.append(f"{page.relative_to(root)}: {link}")
    assert broken == []


def test_every_error_code_is_in_the_contract(root: Path) -> None:
    text = (root / "docs" / "contract.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", text[text.index("## Error codes") :], re.MULTILINE)
    assert sorted(listed) == sorted(code.value for code in ErrorCode)


def test_make_alone_lists_every_target(root: Path, targets: set[str]) -> None:
    rules = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), re.MULTILINE))
    assert rules - {"need-python", "need-java"} == targets


def test_documents_name_only_targets_that_exist(documents: list[Path], targets: set[str], root: Path) -> None:
    named = {
        (page.relative_to(root).as_posix(), target)
        for page in documents
        for target in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert {(page, target) for page, target in named if target not in targets} == set()
