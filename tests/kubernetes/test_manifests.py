"""Manifests: valid for Kubernetes, and in keeping with each other and with the code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from core.models import MODELS
from pipeline.kubeflow.cluster import load_cluster
from tests.kubernetes.conftest import (
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    PIPELINE,
    documents,
    needs_kubectl,
    render,
    render_with,
)

pytestmark = needs_kubectl

KUBERNETES = ("1.31", "1.34", "1.37")
# Kinds that Kubernetes itself does not know; each is checked by a test below.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "InferenceService", "ServingRuntime"}
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


def deployments(text: str) -> dict[str, dict]:
    """By model."""
    return {
        d["metadata"]["labels"]["app.kubernetes.io/component"]: d
        for d in documents(text, "Deployment")
    }


def server(deployment: dict) -> dict:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container


def flags(container: dict) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in container["args"])


def named(text: str, kind: str) -> dict[str, dict]:
    return {d["metadata"]["name"]: d for d in documents(text, kind)}


def variants(tmp_path: Path) -> dict[str, str]:
    """Everything that can be applied: each overlay, and production with each component."""
    texts = {folder: render(folder) for folder in (*OVERLAYS, *PIPELINE)}
    for component in COMPONENTS:
        base = "overlays/prod" if component != "monitoring" else "overlays/dev"
        texts[f"{base} with {component}"] = render_with(tmp_path, base, component)
    return texts


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_variant_is_valid(tmp_path, version):
    paths = []
    for name, text in variants(tmp_path).items():
        paths.append(tmp_path / f"{re.sub('[^a-z]+', '-', name)}.yaml")
        paths[-1].write_text(text)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "kubernetes_validate", "--strict"),
            *("-k", version, *map(str, paths)),
        ],
        capture_output=True,
        text=True,
    )
    lines = (result.stdout + result.stderr).splitlines()
    assert result.returncode == 0, "\n".join(lines)
    warnings = [line for line in lines if line.startswith("WARN")]
    unknown = {re.search(r"for kind (\w+)", line)[1] for line in warnings}
    assert unknown <= CUSTOM, warnings


def test_a_slip_would_be_found(tmp_path):
    path = tmp_path / "slip.yaml"
    path.write_text(render("overlays/prod").replace("maxSurge:", "maxSurges:"))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", "1.34", str(path)]
    assert subprocess.run(command, capture_output=True).returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_model_has_its_server(overlay):
    found = deployments(render(overlay))
    assert set(found) == set(MODELS)
    for model, deployment in found.items():
        assert deployment["metadata"]["name"] == f"inkwell-{model}"
        assert deployment["metadata"]["namespace"] == "inkwell"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_of_servers_services_and_probes_are_those_of_the_flags(overlay):
    text = render(overlay)
    services = named(text, "Service")
    for model, deployment in deployments(text).items():
        container = server(deployment)
        given = flags(container)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"grpc": int(given["port"]), "http": int(given["rest_api_port"])}
        service = services[f"inkwell-{model}"]
        assert {p["targetPort"]: p["port"] for p in service["spec"]["ports"]} == ports
        headless = services[f"inkwell-headless-{model}"]["spec"]
        assert headless["clusterIP"] == "None" and headless["ports"][0]["port"] == ports["grpc"]
        metadata = f"/v1/models/{model}/metadata"
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["httpGet"] == {"path": metadata, "port": "http"}
        assert container["livenessProbe"]["tcpSocket"] == {"port": "grpc"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_the_pods_of_one_model_and_no_other(overlay):
    text = render(overlay)
    found = deployments(text)
    pods = {m: d["spec"]["template"]["metadata"]["labels"] for m, d in found.items()}

    def selected(selector: dict) -> set[str]:
        return {m for m, labels in pods.items() if selector.items() <= labels.items()}

    for model, deployment in found.items():
        assert selected(deployment["spec"]["selector"]["matchLabels"]) == {model}
        for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert selected(spread["labelSelector"]["matchLabels"]) == {model}
    for name, service in named(text, "Service").items():
        assert selected(service["spec"]["selector"]) == {name.rpartition("-")[2]}
    for name, budget in named(text, "PodDisruptionBudget").items():
        assert selected(budget["spec"]["selector"]["matchLabels"]) == {name.rpartition("-")[2]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_files_named_in_flags_are_mounted_and_well_formed(overlay):
    text = render(overlay)
    maps = named(text, "ConfigMap")
    for model, deployment in deployments(text).items():
        container = server(deployment)
        volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
        mounts = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
        given = flags(container)
        for flag in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
            if flag not in given:
                continue
            path = Path(given[flag])
            data = maps[mounts[str(path.parent)]["configMap"]["name"]]["data"]
            assert path.name in data
        models = maps[f"models-{model}"]["data"]["models.config"]
        parsed = text_format.Parse(models, model_server_config_pb2.ModelServerConfig())
        [config] = parsed.model_config_list.config
        assert (config.name, config.base_path) == (model, f"/models/{model}")
        assert config.model_platform == "tensorflow"
        assert ("enable_batching" in given) == ("batching_parameters_file" in given)
        assert int(given["model_config_file_poll_wait_seconds"]) > 0


def test_batching_and_monitoring_are_what_the_server_reads():
    # Their protos are not in tensorflow-serving-api, so their few lines are read here.
    batching = (MANIFESTS / "base/server/batching.config").read_text()
    values = dict(re.findall(r"^(\w+) \{ value: (\d+) \}$", batching, re.MULTILINE))
    assert len(values) == len(batching.splitlines())
    assert set(values) == {
        *("max_batch_size", "batch_timeout_micros"),
        *("max_enqueued_batches", "num_batch_threads"),
    }
    container = server(deployments(render("overlays/prod"))["autoencoder"])
    assert values["num_batch_threads"] == container["resources"]["limits"]["cpu"]
    assert flags(container)["tensorflow_intra_op_parallelism"] == values["num_batch_threads"]
    monitoring = (MANIFESTS / "base/server/monitoring.config").read_text()
    path = re.search(r'enable: true\s+path: "([^"]+)"', monitoring)[1]
    [monitor] = documents(render("overlays/prod"), "ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["path"], endpoint["port"]) == (path, "http")


def test_only_models_whose_inputs_all_have_a_batch_are_batched():
    from trainer_modules.autoencoder import model as autoencoder
    from trainer_modules.autoencoder.config import AutoencoderConfig
    from trainer_modules.autoencoder.signatures import signatures as of_autoencoder
    from trainer_modules.diffusion import model as diffusion
    from trainer_modules.diffusion.config import DiffusionConfig
    from trainer_modules.diffusion.signatures import signatures as of_diffusion
    from trainer_modules.gan import model as gan
    from trainer_modules.gan.config import GanConfig
    from trainer_modules.gan.sampler import Calibration
    from trainer_modules.gan.signatures import signatures as of_gan

    small = AutoencoderConfig(channels=4)
    network = diffusion.build_network(DiffusionConfig(channels=4, global_width=4))
    small_gan = GanConfig(channels=4)
    networks = gan.build_generator(small_gan), gan.build_discriminator(small_gan)
    entries = {
        "autoencoder": of_autoencoder(
            autoencoder.build_encoder(small), autoencoder.build_decoder(small)
        ),
        "diffusion": of_diffusion(network, network, 0.1, 0.3),
        "gan": of_gan(*networks, Calibration(midpoint=0.0, slope=1.0)),
    }
    with_scalars = {
        model
        for model, signatures in entries.items()
        if any(i.shape.rank == 0 for s in signatures.values() for i in s.inputs.values())
    }
    found = deployments(render("overlays/prod"))
    batched = {model for model, d in found.items() if "enable_batching" in flags(server(d))}
    assert batched == set(MODELS) - with_scalars == {"autoencoder"}


def test_the_store_is_the_pipelines_and_read_only_for_servers():
    cluster = load_cluster()
    for overlay in OVERLAYS:
        text = render(overlay)
        for deployment in deployments(text).values():
            spec = deployment["spec"]["template"]["spec"]
            [volume] = [v for v in spec["volumes"] if "persistentVolumeClaim" in v]
            assert volume["persistentVolumeClaim"] == {
                "claimName": cluster.serving_store.claim,
                "readOnly": True,
            }
            mount = {m["name"]: m for m in server(deployment)["volumeMounts"]}[volume["name"]]
            assert mount["mountPath"] == cluster.serving_store.mount and mount["readOnly"]


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_both_claims_are_bound_to_one_share(environment):
    shares = []
    for folder, namespace in (("overlays", "inkwell"), ("kubeflow", "kubeflow")):
        text = render(f"{folder}/{environment}")
        [claim] = documents(text, "PersistentVolumeClaim")
        [volume] = documents(text, "PersistentVolume")
        assert claim["metadata"] == {**claim["metadata"], "namespace": namespace}
        assert claim["metadata"]["name"] == load_cluster().serving_store.claim
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        reference = volume["spec"]["claimRef"]
        assert (reference["namespace"], reference["name"]) == (namespace, "inkwell-models")
        assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
        assert claim["spec"]["storageClassName"] == volume["spec"]["storageClassName"] == ""
        place = volume["spec"].get("nfs") or volume["spec"]["hostPath"]
        shares.append((place.get("server"), place["path"]))
    assert shares[0] == shares[1]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_keep_to_the_restricted_standard_of_their_namespace(overlay):
    text = render(overlay)
    [namespace] = documents(text, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for deployment in deployments(text).values():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        context = server(deployment)["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert "/tmp" in {m["mountPath"] for m in server(deployment)["volumeMounts"]}


def test_images_are_pinned_to_one_release(tmp_path):
    for name, text in variants(tmp_path).items():
        images = set(re.findall(r"^\s*-?\s*image: (\S+)$", text, re.MULTILINE))
        for image in images:
            assert re.fullmatch(
                r"tensorflow/serving:2\.21\.\d+(-gpu)?(@sha256:[0-9a-f]{64})?", image
            )
        assert not images or all(i.endswith("-gpu") == ("gpu" in name) for i in images)


def test_memory_is_requested_in_full_and_cpu_is_bounded(tmp_path):
    for text in variants(tmp_path).values():
        for deployment in deployments(text).values():
            resources = server(deployment)["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"]
            assert set(resources["requests"]) >= {"cpu"} and set(resources["limits"]) >= {"cpu"}


@pytest.mark.parametrize("overlay", ["overlays/staging", "overlays/prod"])
def test_one_pod_may_go_and_one_stays(overlay):
    text = render(overlay)
    scalers, budgets = named(text, "HorizontalPodAutoscaler"), named(text, "PodDisruptionBudget")
    for deployment in deployments(text).values():
        name = deployment["metadata"]["name"]
        scaler = scalers[name]["spec"]
        assert scaler["scaleTargetRef"]["name"] == name
        assert "replicas" not in deployment["spec"]  # each apply would undo the scaling
        assert scaler["maxReplicas"] > scaler["minReplicas"] > budgets[name]["spec"]["minAvailable"]
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        pod = deployment["spec"]["template"]["spec"]
        pause = server(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pause < pod["terminationGracePeriodSeconds"]
        utilization = scaler["metrics"][0]["resource"]["target"]["averageUtilization"]
        resources = server(deployment)["resources"]
        request = float(resources["requests"]["cpu"].removesuffix("m")) / 1000
        assert request * utilization / 100 < float(resources["limits"]["cpu"])


def test_the_quota_lets_every_server_grow():
    text = render("overlays/prod")
    [quota] = documents(text, "ResourceQuota")
    hard = quota["spec"]["hard"]
    pods = sum(s["spec"]["maxReplicas"] + 1 for s in documents(text, "HorizontalPodAutoscaler"))
    limits = server(deployments(text)["gan"])["resources"]["limits"]
    assert pods <= int(hard["pods"])
    assert pods * int(limits["memory"].removesuffix("Gi")) <= int(
        hard["limits.memory"].removesuffix("Gi")
    )
    assert pods * int(limits["cpu"]) <= int(hard["limits.cpu"])


def test_a_single_node_needs_neither_scaling_nor_budgets():
    assert not documents(render("overlays/dev"), "HorizontalPodAutoscaler", "PodDisruptionBudget")


def test_nothing_gets_in_but_to_the_ports_and_nothing_out():
    text = render("overlays/prod")
    policies = named(text, "NetworkPolicy")
    deny = policies["default-deny"]["spec"]
    assert deny["podSelector"] == {} and set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny and "egress" not in deny
    ports = {p["containerPort"] for p in server(deployments(text)["gan"])["ports"]}
    [clients] = policies["clients"]["spec"]["ingress"]
    assert {p["port"] for p in clients["ports"]} == ports
    [metrics] = policies["metrics"]["spec"]["ingress"]
    assert [p["port"] for p in metrics["ports"]] == [8501]
    labels = {**deployments(text)["gan"]["spec"]["template"]["metadata"]["labels"]}
    for name in ("clients", "metrics"):
        assert policies[name]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        assert policies[name]["metadata"]["namespace"] == "inkwell"


def test_operators_may_change_versions_and_nothing_else():
    text = render("overlays/prod")
    [role] = documents(text, "Role")
    [rule] = role["rules"]
    assert rule["resources"] == ["configmaps"]
    assert set(rule["resourceNames"]) == {f"models-{model}" for model in MODELS}
    assert set(rule["resourceNames"]) <= set(named(text, "ConfigMap"))
    assert "*" not in rule["verbs"]
    assert not documents(text, "ClusterRole", "ClusterRoleBinding")


def expressions() -> dict[str, str]:
    """PromQL of alerts, dashboard and KEDA, by name."""
    rules = yaml.safe_load((MANIFESTS / "components/monitoring/rules.yaml").read_text())
    found = {r["alert"]: r["expr"] for g in rules["spec"]["groups"] for r in g["rules"]}
    dashboard = json.loads((MANIFESTS / "components/monitoring/inkwell.json").read_text())
    for panel in dashboard["panels"]:
        found[panel["title"]] = panel["targets"][0]["expr"]
    scaled = MANIFESTS / "components/keda/scaledobjects.yaml"
    for scaler in documents(scaled.read_text()):
        found[scaler["metadata"]["name"]] = scaler["spec"]["triggers"][0]["metadata"]["query"]
    return found


@pytest.mark.parametrize("name", sorted(expressions()))
def test_expressions_parse_and_name_metrics_that_there_are(name):
    import promql_parser

    expression = expressions()[name]
    promql_parser.parse(expression)
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|by \([^)]*\)', "", expression)
    names = {word for word in re.findall(r"[:a-z_][:a-z_0-9]*", bare) if "_" in word}
    functions = {"histogram_quantile"}
    assert names - functions and names - functions <= SERVING_METRICS | OTHER_METRICS
    for metric in names & SERVING_METRICS:
        assert f'{metric}{{namespace="inkwell"' in expression  # other models are not ours


def test_alerts_say_what_is_wrong_and_where():
    [rules] = documents(render("overlays/prod"), "PrometheusRule")
    for group in rules["spec"]["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert "$labels." in rule["annotations"]["summary"]


def test_metrics_are_scraped_from_one_service_a_model():
    text = render("overlays/prod")
    [monitor] = documents(text, "ServiceMonitor")
    labels = monitor["spec"]["selector"]["matchLabels"]
    found = {
        name
        for name, service in named(text, "Service").items()
        if labels.items() <= service["metadata"]["labels"].items()
    }
    assert found == {f"inkwell-{model}" for model in MODELS}


def test_keda_takes_the_autoscalers_place(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "keda")
    assert not documents(text, "HorizontalPodAutoscaler")
    names = {d["metadata"]["name"] for d in deployments(text).values()}
    scaled = documents(text, "ScaledObject")
    assert {s["spec"]["scaleTargetRef"]["name"] for s in scaled} == names
    budgets = named(text, "PodDisruptionBudget")
    for scaler in scaled:
        model = scaler["metadata"]["name"].removeprefix("inkwell-")
        assert f'model_name="{model}"' in scaler["spec"]["triggers"][0]["metadata"]["query"]
        kept = budgets[scaler["metadata"]["name"]]["spec"]["minAvailable"]
        assert scaler["spec"]["minReplicaCount"] > kept


def test_kserve_takes_the_deployments_place_with_our_release(tmp_path):
    text = render_with(tmp_path, "overlays/prod", "kserve")
    assert not documents(text, "Deployment", "Service", "HorizontalPodAutoscaler")
    [runtime] = documents(text, "ServingRuntime")
    services = named(text, "InferenceService")
    assert set(services) == set(MODELS)
    for model, service in services.items():
        predictor = service["spec"]["predictor"]["model"]
        assert predictor["runtime"] == runtime["metadata"]["name"]
        assert predictor["storageUri"] == f"pvc://{load_cluster().serving_store.claim}/{model}"
    [container] = runtime["spec"]["containers"]
    own = server(deployments(render("overlays/prod"))["gan"])
    assert container["image"] == own["image"]
    assert container["securityContext"]["runAsNonRoot"] is True


def test_gpu_servers_ask_for_a_card_and_tolerate_its_nodes(tmp_path):
    cluster = load_cluster()
    for deployment in deployments(render_with(tmp_path, "overlays/prod", "gpu")).values():
        pod = deployment["spec"]["template"]["spec"]
        assert server(deployment)["resources"]["limits"][cluster.gpu.type] == 1
        assert pod["nodeSelector"] == cluster.gpu.node_selector
        assert pod["tolerations"][0]["key"] == cluster.gpu.tolerations[0].key


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
