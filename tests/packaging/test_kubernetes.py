"""The Kubernetes manifests fit each other, the image and the settings. No cluster is needed, and none is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_schemas.settings import Settings, load_settings

Document = dict[str, Any]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy" / "kubernetes"


@pytest.fixture(scope="module")
def kustomization(folder: Path) -> Document:
    document: Document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def manifests(folder: Path, kustomization: Document) -> dict[str, Document]:
    """By kind and name."""
    documents = [one for name in kustomization["resources"] for one in yaml.safe_load_all((folder / name).read_text())]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in documents}


@pytest.fixture
def settings(folder: Path) -> Settings:
    return load_settings(folder / "penstock.toml")


def test_every_manifest_is_listed(folder: Path, kustomization: Document) -> None:
    written = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == written


def test_a_drain_is_not_cut_short(manifests: dict[str, Document], settings: Settings) -> None:
    pod = manifests["Deployment/worker"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.worker.shutdown_grace


def test_probes_ask_the_metrics_port(manifests: dict[str, Document], settings: Settings) -> None:
    [container] = manifests["Deployment/worker"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "metrics", "containerPort": settings.worker.metrics_port} in container["ports"]
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths["livenessProbe"] == {"path": "/livez", "port": "metrics"}
    assert paths["readinessProbe"] == paths["startupProbe"] == {"path": "/readyz", "port": "metrics"}


@pytest.mark.parametrize("name", ["Deployment/worker", "Job/topics"])
def test_volumes_are_declared_and_exist(manifests: dict[str, Document], kustomization: Document, name: str) -> None:
    pod = manifests[name]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert container["image"] == kustomization["images"][0]["name"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == kustomization["configMapGenerator"][0]["name"]
    if "models" in volumes:
        assert f"PersistentVolumeClaim/{volumes['models']['persistentVolumeClaim']['claimName']}" in manifests


def test_selectors_select_the_workers(manifests: dict[str, Document]) -> None:
    labels = manifests["Deployment/worker"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment/worker"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["PodDisruptionBudget/worker"]["spec"]["selector"]["matchLabels"] == labels
