"""The alerts ask for metrics that there are, and lead to pages that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_schemas.errors import ErrorCode
from penstock_worker.metrics import ProjectorMetrics, WorkerMetrics

ELSEWHERE = {"kafka_consumergroup_lag"}
"""Metrics of Kafka's exporter."""


@pytest.fixture(scope="module")
def rules(root: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load((root / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def offered() -> set[str]:
    """Every name under which a worker or a projector serves a figure."""
    families = [family for metrics in (WorkerMetrics(), ProjectorMetrics()) for family in metrics.registry.collect()]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_every_metric_is_one_that_is_served(rules: list[dict[str, Any]]) -> None:
    asked = {name for rule in rules for name in re.findall(r"\b(?:penstock|kafka)_\w+", rule["expr"])}
    assert asked - offered() - ELSEWHERE == set()
    codes = {code for rule in rules for code in re.findall(r'code!?="(\w+)"', rule["expr"])}
    assert codes <= {str(code) for code in ErrorCode}


def test_every_alert_has_a_page_and_a_summary(rules: list[dict[str, Any]], root: Path) -> None:
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    text = (root / "docs" / "runbook.md").read_text(encoding="utf-8")
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (root / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, rule["alert"]
        assert f"`{rule['alert']}`" in text
        assert rule["annotations"]["summary"]


def test_the_runbook_has_every_error_code(root: Path) -> None:
    text = (root / "docs" / "runbook.md").read_text(encoding="utf-8")
    section = text.split("\n## What each error code asks for\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(str(code) for code in ErrorCode)
