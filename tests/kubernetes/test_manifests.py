"""Manifests: valid for Kubernetes, and in keeping with each other and with the code."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from core.models import MODELS
from pipeline.kubeflow.cluster import load_cluster
from tests.kubernetes.conftest import (
    COMPONENTS,
    ENVIRONMENTS,
    MANIFESTS,
    OVERLAYS,
    PIPELINE,
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

RIGHTS = "kubeflow/rights"
KUBERNETES = ("1.31", "1.34", "1.37")
# Kinds that Kubernetes itself does not know; each is checked by a test below.
CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject", "InferenceService", "ServingRuntime"}


def variants(tmp_path: Path) -> dict[str, str]:
    """Everything that can be applied: each overlay, and production with each component."""
    texts = {folder: render(folder) for folder in (*OVERLAYS, *PIPELINE, RIGHTS, "monitoring")}
    for component in COMPONENTS:
        texts[f"with {component}"] = render_with(tmp_path, "overlays/prod", component)
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
        assert deployment["metadata"]["namespace"] == overlay.replace("overlays/", "inkwell-")


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
    monitor = MANIFESTS / "components/monitoring/podmonitor.yaml"
    [endpoint] = documents(monitor.read_text())[0]["spec"]["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["port"]) == (path, "http")


def test_only_models_whose_inputs_all_have_a_batch_are_batched():
    from trainer_modules.autoencoder import model as autoencoder
    from trainer_modules.autoencoder.config import AutoencoderConfig
    from trainer_modules.autoencoder.signatures import signatures as of_autoencoder
    from trainer_modules.diffusion import guidance
    from trainer_modules.diffusion import model as diffusion
    from trainer_modules.diffusion.config import DiffusionConfig
    from trainer_modules.diffusion.signatures import signatures as of_diffusion
    from trainer_modules.gan import model as gan
    from trainer_modules.gan.config import GanConfig
    from trainer_modules.gan.sampler import Calibration
    from trainer_modules.gan.signatures import signatures as of_gan

    small = AutoencoderConfig(channels=4)
    network = diffusion.build_network(DiffusionConfig(channels=4, global_width=4))
    generator = guidance.build_generator(network, 0.0, 3.0, np.zeros((2, 28, 28, 1)), 0.1, 0.3)
    small_gan = GanConfig(channels=4)
    networks = gan.build_generator(small_gan), gan.build_discriminator(small_gan)
    entries = {
        "autoencoder": of_autoencoder(
            autoencoder.build_encoder(small), autoencoder.build_decoder(small)
        ),
        "diffusion": of_diffusion(generator, network, 0.1, 0.3),
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


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_both_claims_are_bound_to_one_share(environment):
    shares = set()
    for folder, namespace in (("overlays", f"inkwell-{environment}"), ("kubeflow", "kubeflow")):
        text = render(f"{folder}/{environment}")
        volumes = named(text, "PersistentVolume")
        for claim in documents(text, "PersistentVolumeClaim"):
            volume = volumes.pop(claim["spec"]["volumeName"])
            assert claim["metadata"]["namespace"] == namespace
            assert environment in volume["metadata"]["name"]
            assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
            # A class of that name would create volumes; an empty one would let any claim have ours.
            for found in (claim, volume):
                assert found["spec"]["storageClassName"] == "inkwell"
            place = volume["spec"].get("nfs") or volume["spec"]["hostPath"]
            shares.add((place.get("server"), place["path"]))
        assert not volumes
    assert len(shares) == 1


def test_a_trial_needs_no_settings_to_find_its_store():
    [claim] = documents(render("kubeflow/dev"), "PersistentVolumeClaim")
    assert claim["metadata"]["name"] == load_cluster().serving_store.claim


def test_environments_share_a_cluster():
    """No two of them have an object of the same kind, namespace and name."""
    found = [
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"])
        for folder in (*OVERLAYS, *PIPELINE, RIGHTS, "monitoring")
        for d in documents(render(folder))
    ]
    assert len(found) > 80 and len(found) == len(set(found))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_needs_nothing_in_the_cluster_but_kubernetes(overlay):
    assert not {d["kind"] for d in documents(render(overlay))} & CUSTOM


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
        expected = r"tensorflow/serving:2\.21\.\d+" + ("-gpu" if "gpu" in name else "")
        if "inkwell-server" in name:  # its tag is the commit, which the overlay names
            expected = "inkwell-server:name-it-in-your-overlay"
        for image in images(text):  # with a digest after `make pin`
            assert re.fullmatch(rf"{expected}(@sha256:[0-9a-f]{{64}})?", image), (name, image)


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


def test_a_single_node_needs_neither_scaling_nor_budgets():
    assert not documents(render("overlays/dev"), "HorizontalPodAutoscaler", "PodDisruptionBudget")


def test_nothing_gets_in_but_to_the_ports_and_nothing_out():
    text = render("overlays/prod")
    policies = named(text, "NetworkPolicy")
    assert set(policies) == {"default-deny", "clients"}
    deny = policies["default-deny"]["spec"]
    assert deny["podSelector"] == {} and set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny and "egress" not in deny
    allowed = {}
    for rule in policies["clients"]["spec"]["ingress"]:
        [source], [port] = rule["from"], rule["ports"]
        [label] = source["namespaceSelector"]["matchLabels"]
        allowed[label] = port["port"]
    # gRPC has a label of its own: its port also takes orders, not only requests.
    given = flags(server(deployments(text)["gan"]))
    assert allowed == {
        "inkwell/client": int(given["rest_api_port"]),
        "inkwell/grpc-client": int(given["port"]),
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_server_waits_for_the_first_run_of_the_pipeline(overlay):
    for deployment in deployments(render(overlay)).values():
        probe = server(deployment)["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 6 * 3600


def test_operators_may_change_versions_and_nothing_else():
    text = render("overlays/prod")
    [role] = documents(text, "Role")
    [rule] = role["rules"]
    assert rule["resources"] == ["configmaps"]
    assert set(rule["resourceNames"]) == {f"models-{model}" for model in MODELS}
    assert set(rule["resourceNames"]) <= set(named(text, "ConfigMap"))
    assert "*" not in rule["verbs"]
    assert not documents(text, "ClusterRole", "ClusterRoleBinding")
