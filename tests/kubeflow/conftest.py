"""A cluster with every setting in use, and pipelines compiled for it and for the simulation."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import load_config
from pipeline.kubeflow.cluster import Cluster, Secret, Volume, load_cluster
from pipeline.kubeflow.compiler import compile_pipeline


@pytest.fixture(autouse=True)
def no_access_from_outside(monkeypatch, tmp_path):
    """The machine's own access to servers does not count."""
    for name in list(os.environ):
        if name.startswith(("KF_PIPELINES_", "INKWELL_KFP_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The default cluster, with what it leaves empty filled in, and each node a task of its own."""
    return dataclasses.replace(
        load_cluster(),
        join_tasks=False,
        data_volume=Volume("digits", "/data"),
        image_pull_secrets=("registry",),
        secrets=(Secret("bucket", {"ACCESS_KEY": "key"}),),
        env={"TZ": "UTC"},
    )


@pytest.fixture(scope="session")
def package(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke profile, compiled for that cluster."""
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(load_config("smoke"), cluster, path)
    return path


@pytest.fixture(scope="session")
def spec(package: Path) -> dict[str, Any]:
    return next(yaml.safe_load_all(package.read_text()))


@pytest.fixture(scope="session")
def platform(package: Path) -> dict[str, Any]:
    """Kubernetes settings by node id."""
    _, document = yaml.safe_load_all(package.read_text())
    executors = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {label.removesuffix("_executor"): settings for label, settings in executors.items()}
