"""The pool of Beam's workers: valid for Kubernetes, closed to strangers, and started as tried."""

import importlib.util
import subprocess
import sys

import pytest

from tests.kubernetes.conftest import documents, flags, named, needs_kubectl, render, server

pytestmark = needs_kubectl
POOL = "inkwell-beam-workers"
RUNNER = {"inkwell/beam-runner": "true"}


@pytest.fixture(scope="module")
def text() -> str:
    return render("kubeflow/beam-workers")


def test_it_is_valid(text, tmp_path):
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", "1.34", str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_service_reaches_the_pool_that_beam_can_start(text):
    deployment, service = named(text, "Deployment")[POOL], named(text, "Service")[POOL]
    container = server(deployment)
    assert container["image"].startswith("inkwell-cpu:")
    python, option, module = container["command"]
    assert (python, option) == ("python", "-m") and importlib.util.find_spec(module)
    [port] = service["spec"]["ports"]
    [open_port] = container["ports"]
    assert port["targetPort"] == open_port["name"]
    assert flags(container) == {"service_port": str(open_port["containerPort"])}
    assert port["port"] == open_port["containerPort"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_nobody_but_the_job_server_asks_for_workers(text):
    [policy] = documents(text, "NetworkPolicy")
    spec = policy["spec"]
    labels = named(text, "Deployment")[POOL]["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    [allowed] = spec["ingress"]
    assert allowed["from"] == [{"podSelector": {"matchLabels": RUNNER}}]
    assert allowed["ports"] == [{"protocol": "TCP", "port": 50000}]
    assert spec["egress"][0] == {"to": allowed["from"]}


def test_its_pod_has_no_root_no_token_and_writes_to_the_claim_and_tmp_alone(text):
    pod = named(text, "Deployment")[POOL]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {m["mountPath"] for m in container["volumeMounts"]} == {"/shared", "/tmp"}
