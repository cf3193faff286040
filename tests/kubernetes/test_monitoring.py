"""Metrics: what is scraped, and the expressions of alerts, dashboard and KEDA."""

import json
import re

import pytest

from core.models import MODELS
from tests.kubernetes.conftest import MANIFESTS, deployments, documents, needs_kubectl, render

# What TensorFlow Serving 2.21 exports (util/prometheus_exporter.cc), and the cluster's own.
SERVING_METRICS = {
    ":tensorflow:serving:request_count",
    ":tensorflow:serving:request_latency_bucket",
    ":tensorflow:serving:request_latency_sum",
    ":tensorflow:serving:request_example_counts_sum",
    ":tensorflow:cc:saved_model:load_attempt_count",
}
OTHER_METRICS = {
    "kube_deployment_status_replicas_available",
    "kube_deployment_spec_replicas",
    "container_memory_working_set_bytes",
}
FUNCTIONS = {"histogram_quantile"}
RELEASE = {"release": "kube-prometheus-stack"}


def read(path: str) -> list[dict]:
    """The documents of a file of ``kubernetes/``."""
    return documents((MANIFESTS / path).read_text())


def alerts() -> list[dict]:
    [rules] = read("monitoring/rules.yaml")
    return [rule for group in rules["spec"]["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """PromQL of alerts, dashboard and KEDA, by name."""
    found = {rule["alert"]: rule["expr"] for rule in alerts()}
    dashboard = json.loads((MANIFESTS / "monitoring/inkwell.json").read_text())
    for panel in dashboard["panels"]:
        found[panel["title"]] = panel["targets"][0]["expr"]
    for scaler in read("components/keda/scaledobjects.yaml"):
        found[scaler["metadata"]["name"]] = scaler["spec"]["triggers"][0]["metadata"]["query"]
    return found


@pytest.mark.parametrize("name", sorted(expressions()))
def test_expressions_parse_and_name_metrics_that_there_are(name):
    import promql_parser

    expression = expressions()[name]
    promql_parser.parse(expression)
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|by \([^)]*\)', "", expression)
    names = {word for word in re.findall(r"[:a-z_][:a-z_0-9]*", bare) if "_" in word}
    assert names - FUNCTIONS and names - FUNCTIONS <= SERVING_METRICS | OTHER_METRICS


@pytest.mark.parametrize("name", sorted(expressions()))
def test_expressions_tell_our_servers_from_others_and_environments_apart(name):
    expression = expressions()[name]
    if name.startswith("inkwell-"):  # KEDA: one environment's
        assert re.findall(r'namespace="(\w+)"', expression) == ["inkwell"] * 2
        return
    assert re.search(r"by \(namespace, ", expression)
    for metric, labels in re.findall(r"([:a-z_]+)\s*\{([^}]*)\}", expression):
        ours = {
            "kube": "deployment=~",
            "container": 'container=~"serving|kserve-container"',
        }.get(metric.partition("_")[0], 'job=~".+/inkwell"')
        assert ours in labels or 'namespace=~"$namespace"' in labels, metric


def test_alerts_say_what_is_wrong_and_where():
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].startswith("{{ $labels.namespace }}: ")


@needs_kubectl
def test_missing_servers_are_looked_for_by_their_names():
    [rule] = [rule for rule in alerts() if rule["alert"] == "InkwellServersMissing"]
    [pattern] = set(re.findall(r'deployment=~"([^"]*)"', rule["expr"]))
    names = {d["metadata"]["name"] for d in documents(render("overlays/prod"), "Deployment")}
    assert names == {f"inkwell-{model}" for model in MODELS}
    names |= {f"{model}-predictor" for model in MODELS}  # KServe's name of a predictor
    assert all(re.fullmatch(pattern, name) for name in names)
    assert not re.fullmatch(pattern, "other-predictor")


@needs_kubectl
def test_operator_s_default_selection_finds_monitor_and_rules():
    [monitor] = read("components/monitoring/podmonitor.yaml")
    [rules] = documents(render("monitoring"), "PrometheusRule")
    assert monitor["metadata"]["labels"] == rules["metadata"]["labels"] == RELEASE
    [dashboard] = documents(render("monitoring"), "ConfigMap")
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert rules["metadata"]["namespace"] == dashboard["metadata"]["namespace"] == "monitoring"


@needs_kubectl
def test_every_server_is_scraped_and_named_as_the_expressions_say():
    [monitor] = read("components/monitoring/podmonitor.yaml")
    assert monitor["metadata"]["name"] == "inkwell"  # the label job is <namespace>/inkwell
    labels = monitor["spec"]["selector"]["matchLabels"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    found = deployments(render("overlays/prod"))
    assert set(found) == set(MODELS)
    for deployment in found.values():
        template = deployment["spec"]["template"]
        assert labels.items() <= template["metadata"]["labels"].items()
        [container] = template["spec"]["containers"]
        assert container["name"] == "serving"
        assert endpoint["port"] in {port["name"] for port in container["ports"]}
