"""Components: each overlay with every subset of them, and what each one promises."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from core.models import MODELS
from pipeline.kubeflow.cluster import load_cluster
from tests.kubernetes.conftest import (
    COMPONENTS,
    ENVIRONMENTS,
    deployments,
    documents,
    flags,
    images,
    named,
    needs_kubectl,
    render,
    render_with,
    server,
)

pytestmark = needs_kubectl

# What kustomize refuses, and the words that its message holds.
REFUSED = {
    ("kserve", "keda"): "KServe scales by itself: leave out keda",
    ("kserve", "pinned"): "KServe serves the newest version: leave out pinned",
    ("kserve", "inkwell-server"): "KServe has its own runtime: leave out inkwell-server",
    ("gpu", "inkwell-server"): "the image of inkwell-server has no CUDA: leave out gpu",
}
SUBSETS = [
    subset
    for size in range(len(COMPONENTS) + 1)
    for subset in itertools.combinations(COMPONENTS, size)
]
GOOD = [subset for subset in SUBSETS if not any(set(pair) <= set(subset) for pair in REFUSED)]
UNITS = {"m": 1e-3, "": 1.0, "Mi": 2.0**20, "Gi": 2.0**30}


@dataclasses.dataclass(frozen=True)
class Servers:
    """The pods of one model."""

    labels: dict[str, str]
    spec: dict
    least: int
    most: int  # replicas
    surge: int  # more of them during a roll-out


def servers(text: str) -> Iterator[Servers]:
    """Those of the Deployments, or those that KServe makes of its services."""
    scalers = {
        d["spec"]["scaleTargetRef"]["name"]: d["spec"]
        for d in documents(text, "HorizontalPodAutoscaler", "ScaledObject")
    }
    for name, deployment in named(text, "Deployment").items():
        scaler = scalers.get(name, {"minReplicas": 1, "maxReplicas": 1})
        yield Servers(
            deployment["spec"]["template"]["metadata"]["labels"],
            deployment["spec"]["template"]["spec"],
            scaler.get("minReplicas") or scaler["minReplicaCount"],
            scaler.get("maxReplicas") or scaler["maxReplicaCount"],
            deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"],
        )
    for service in documents(text, "InferenceService"):
        predictor = service["spec"]["predictor"]
        runtime = named(text, "ServingRuntime")[predictor["model"]["runtime"]]["spec"]
        labels = {**runtime["labels"], **service["metadata"]["labels"]}  # as KServe joins them
        most = predictor["maxReplicas"]
        surge = -(-most // 4)  # Kubernetes' default
        yield Servers(labels, {**predictor, **runtime}, predictor["minReplicas"], most, surge)


def number(quantity: str | int) -> float:
    """A quantity of Kubernetes."""
    digits, unit = re.fullmatch(r"(\d+)(\w*)", str(quantity)).groups()
    return int(digits) * UNITS[unit]


def selected(selector: dict[str, str], found: list[Servers]) -> list[Servers]:
    return [servers for servers in found if selector.items() <= servers.labels.items()]


def check(text: str, namespace: str, subset: tuple[str, ...]) -> None:
    """What holds of every combination."""
    found = list(servers(text))
    assert len(found) == len(MODELS)
    check_objects(text, namespace)
    check_selectors(text, found)
    check_references(text, found)
    check_ports(text, found, "monitoring" in subset)
    check_quota(text, found)
    for each in found:
        check_pod(each.spec)


def check_objects(text: str, namespace: str) -> None:
    keys = [
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents(text)
    ]
    assert len(keys) == len(set(keys))
    for kind, of, name in keys:
        assert of == (None if kind in ("Namespace", "PersistentVolume") else namespace), (
            kind,
            name,
        )
    assert named(text, "Namespace").keys() == {namespace}
    for scaler in documents(text, "ScaledObject"):
        query = scaler["spec"]["triggers"][0]["metadata"]["query"]
        assert re.findall(r'namespace="([^"]*)"', query) == [namespace] * 2


def check_selectors(text: str, found: list[Servers]) -> None:
    """Each one selects the pods of one model, or those of all."""
    for kind, path in (
        ("PodDisruptionBudget", ("selector", "matchLabels")),
        ("Service", ("selector",)),
    ):
        for document in documents(text, kind):
            selector = document["spec"]
            for step in path:
                selector = selector[step]
            [one] = selected(selector, found)
            assert document["metadata"]["name"].endswith(one.labels["app.kubernetes.io/component"])
            if kind == "PodDisruptionBudget":
                assert one.least > document["spec"]["minAvailable"]
    for document in documents(text, "NetworkPolicy"):
        assert selected(document["spec"]["podSelector"].get("matchLabels", {}), found) == found
    for document in documents(text, "PodMonitor"):
        assert selected(document["spec"]["selector"]["matchLabels"], found) == found
    names = set(named(text, "Deployment"))
    for document in documents(text, "HorizontalPodAutoscaler", "ScaledObject"):
        assert document["spec"]["scaleTargetRef"]["name"] in names


def check_references(text: str, found: list[Servers]) -> None:
    """Volumes and accounts that pods name are there."""
    maps = set(named(text, "ConfigMap"))
    for each in found:
        volumes = {volume["name"] for volume in each.spec["volumes"]}
        [container] = each.spec["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for volume in each.spec["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
        assert each.spec["serviceAccountName"] in named(text, "ServiceAccount")
    assert set(named(text, "PersistentVolumeClaim")) == {load_cluster().serving_store.claim}


def check_ports(text: str, found: list[Servers], monitored: bool) -> None:
    """Every port of a pod or Service is open to those who may use it, and no other one is."""
    opened: dict[str, set[int]] = {}
    for policy in documents(text, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for source in rule["from"]:
                [label] = source["namespaceSelector"]["matchLabels"]
                opened.setdefault(label, set()).update(port["port"] for port in rule["ports"])
    for each in found:
        [container] = each.spec["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        given = flags(container)
        assert ports == {"http": int(given["rest_api_port"]), "grpc": int(given["port"])}
        # Our own server takes no orders over gRPC, so those who may use REST may use it too.
        is_ours = "inkwell-server:" in container["image"]
        assert opened["inkwell/client"] == (set(ports.values()) if is_ours else {ports["http"]})
        assert opened["inkwell/grpc-client"] == {ports["grpc"]}
        assert (ports["http"] in opened.get("kubernetes.io/metadata.name", ())) == monitored
        assert given["monitoring_config_file"].startswith("/config/server/")
        for service in documents(text, "Service"):
            for port in service["spec"]["ports"]:
                assert port["targetPort"] in ports


def check_quota(text: str, found: list[Servers]) -> None:
    [quota] = documents(text, "ResourceQuota")
    hard = quota["spec"]["hard"]
    sums = dict.fromkeys(("pods", "requests.nvidia.com/gpu"), 0.0)
    for each in found:
        [container] = each.spec["containers"]
        pods = each.most + each.surge
        sums["pods"] += pods
        for group in ("requests", "limits"):
            for name, quantity in container["resources"][group].items():
                key = f"{group}.{name}" if "/" not in name else f"requests.{name}"
                sums[key] = sums.get(key, 0.0) + pods * number(quantity)
    for name, total in sums.items():
        assert total == 0 or total <= number(hard[name]), name


def check_pod(spec: dict) -> None:
    """No root, no token, nothing writable but /tmp, as the namespace's standard asks."""
    assert spec["automountServiceAccountToken"] is False
    [container] = spec["containers"]
    context = {**spec.get("securityContext", {}), **container["securityContext"]}
    assert context["runAsNonRoot"] is True and context["runAsUser"] == 1000
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    resources = container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 6 * 3600


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_subset_of_components_fits_together(tmp_path, environment):
    for subset in GOOD:
        text = render_with(tmp_path, f"overlays/{environment}", *subset)
        try:
            check(text, f"inkwell-{environment}", subset)
        except AssertionError as error:
            raise AssertionError(f"{environment} with {subset}") from error


@pytest.mark.parametrize("pair", REFUSED)
def test_components_that_exclude_each_other_say_so_in_either_order(tmp_path, pair):
    for order in (pair, pair[::-1]):
        with pytest.raises(ValueError, match=REFUSED[pair]):
            render_with(tmp_path, "overlays/prod", *order)


def test_kserve_s_place_in_the_list_is_checked(tmp_path):
    with pytest.raises(ValueError, match="list gpu after kserve"):
        render_with(tmp_path, "overlays/prod", "gpu", "kserve")


def test_keda_takes_the_autoscalers_place(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "keda")
    assert not documents(text, "HorizontalPodAutoscaler")
    before = named(render("overlays/prod"), "HorizontalPodAutoscaler")
    scaled = documents(text, "ScaledObject")
    assert {s["spec"]["scaleTargetRef"]["name"] for s in scaled} == set(before)
    for scaler in scaled:
        name = scaler["metadata"]["name"]
        # KEDA's webhook refuses a Deployment that has an autoscaler already, unless it is named.
        annotations = scaler["metadata"]["annotations"]
        assert annotations["scaledobject.keda.sh/transfer-hpa-ownership"] == "true"
        config = scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
        target = scaler["spec"]["scaleTargetRef"]["name"]
        assert before[config["name"]]["spec"]["scaleTargetRef"]["name"] == target
        [trigger] = scaler["spec"]["triggers"]
        assert f'model_name="{name.removeprefix("inkwell-")}"' in trigger["metadata"]["query"]
        # An empty answer is an error, not a load of zero.
        assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_kserve_takes_the_deployments_place_with_our_release(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "kserve")
    assert not documents(text, "Deployment", "Service", "HorizontalPodAutoscaler")
    services = named(text, "InferenceService")
    assert set(services) == set(MODELS)
    claim = load_cluster().serving_store.claim
    for model, service in services.items():
        predictor = service["spec"]["predictor"]["model"]
        assert predictor["storageUri"] == f"pvc://{claim}/{model}"
    assert set(images(text)) == set(images(render("overlays/prod")))
    [runtime] = documents(text, "ServingRuntime")
    [container] = runtime["spec"]["containers"]
    metadata = "/v1/models/{{.Name}}/metadata"
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": metadata, "port": 8080}


def test_gpu_servers_ask_for_a_card_and_tolerate_its_nodes(tmp_path):
    cluster = load_cluster()
    for first in ((), ("kserve",)):
        text = render_with(tmp_path, "overlays/prod", *first, "gpu")
        for each in servers(text):
            [container] = each.spec["containers"]
            assert container["image"].endswith("-gpu")
            assert container["resources"]["limits"][cluster.gpu.type] == 1
            assert each.spec["nodeSelector"] == cluster.gpu.node_selector
            assert each.spec["tolerations"][0]["key"] == cluster.gpu.tolerations[0].key


def test_our_server_takes_tensorflow_servings_place_and_nothing_else_changes(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "inkwell-server")
    before = deployments(render("overlays/prod"))
    for model, deployment in deployments(text).items():
        ours, theirs = server(deployment), server(before[model])
        changed = {key for key in theirs if ours.get(key) != theirs[key]}
        assert changed == {"image", "command", "resources"}
        assert "command" not in ours  # the image's entry point listens on all addresses
        assert ours["resources"]["limits"]["cpu"] == theirs["resources"]["limits"]["cpu"]


def test_pinned_versions_carry_the_labels_that_clients_ask_for(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "pinned")
    models = named(text, "ConfigMap")["models-gan"]["data"]["models.config"]
    parsed = text_format.Parse(models, model_server_config_pb2.ModelServerConfig())
    [config] = parsed.model_config_list.config
    assert set(config.version_labels) == {"stable", "canary"}
    served = set(config.model_version_policy.specific.versions)
    assert set(config.version_labels.values()) <= served
    given = flags(server(deployments(text)["gan"]))
    # A label of a version that is still loading would otherwise end a cold start.
    assert given["allow_version_labels_for_unavailable_models"] == "true"


def test_every_component_is_tried():
    folders = Path(__file__).parents[2].joinpath("kubernetes", "components").iterdir()
    # That of signed versions needs a key of one's own: test_guide.py adds it.
    assert {folder.name for folder in folders} == {*COMPONENTS, "signed"}
