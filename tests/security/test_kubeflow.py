"""What pods of a run may do on a cluster, and who may change what a model must reach."""

import dataclasses
import re

import pytest
import yaml
from typer.testing import CliRunner

from components.model_card.content import Facts
from components.model_card.results import overview
from core.artifacts import CHANGED_GATES
from core.config import InputError
from pipeline.config import changed_gates, load_config
from pipeline.kubeflow import client
from pipeline.kubeflow.cluster import Secret, load_cluster
from pipeline.kubeflow.compiler import compile_options, compile_pipeline
from pipeline.kubeflow.spec import EVALUATORS, PUSHERS, READERS
from serving.signing import KEY_VARIABLE
from tests.kubernetes.conftest import documents, named, needs_kubectl, render

SECRETS = (
    Secret("bucket", {"ACCESS": "key"}),
    Secret("signing", {KEY_VARIABLE: "inkwell.key"}, PUSHERS),
)


@pytest.fixture(scope="module")
def cluster():
    return dataclasses.replace(
        load_cluster(),
        secrets=SECRETS,
        service_account="inkwell-runner",
        serving_read_claim="inkwell-models-read-only",
        gates="fixed",
    )


@pytest.fixture(scope="module")
def package(cluster, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "pipeline.yaml"
    compile_pipeline(load_config("smoke"), cluster, path)
    return path


@pytest.fixture(scope="module")
def executors(package):
    """Kubernetes' part of the package, by node."""
    _, platform = yaml.safe_load_all(package.read_text())
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {label.removesuffix("_executor"): executor for label, executor in found.items()}


def test_a_secret_goes_only_to_the_nodes_that_need_it(executors):
    """All 22 pods got the credentials of the data, so each could hand them on."""
    given = {
        node: {secret["secretName"] for secret in executor.get("secretAsEnv", ())}
        for node, executor in executors.items()
    }
    assert {node for node, names in given.items() if "bucket" in names} == {*READERS}
    assert {node for node, names in given.items() if "signing" in names} == {*PUSHERS}


@pytest.mark.parametrize("nodes", ["", ", nodes: [push-gan, evaluate-gan]"])
def test_the_signing_key_is_not_in_a_pod_that_runs_models(tmp_path, nodes):
    """An evaluated model could have read the key with which it is signed."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"secrets: [{{name: signing, env: {{{KEY_VARIABLE}: key}}{nodes}}}]\n")
    with pytest.raises(InputError, match="gives INKWELL_SIGNING_KEY to pods in which models run"):
        load_cluster(str(path))


def test_a_plain_variable_that_looks_like_a_secret_is_told(tmp_path, monkeypatch):
    """A password of ``env`` stood 22 times in the package and on KFP's page, without a word."""
    monkeypatch.setattr("pipeline.kubeflow.compiler.compile_pipeline", lambda *_: None)
    (tmp_path / "mine.yaml").write_text("env: {AWS_SECRET_ACCESS_KEY: x9, TZ: UTC, ApiToken: y}\n")
    notes = compile_options(tmp_path / "p.yaml", "smoke", cluster_file=str(tmp_path / "mine.yaml"))
    [note] = [note for note in notes if "of env" in note]
    assert note.startswith("Note: AWS_SECRET_ACCESS_KEY and ApiToken of env can be read in the pa")
    assert "TZ" not in note and "x9" not in note


def test_only_pushers_can_write_the_store_of_models(executors):
    """A model that an evaluator loaded could have replaced what is served."""
    claims = {
        node: volume["constant"]
        for node, executor in executors.items()
        for volume in executor.get("pvcMount", ())
    }
    assert {node for node, claim in claims.items() if claim == "inkwell-models"} == {*PUSHERS}
    readers = {node for node, claim in claims.items() if claim == "inkwell-models-read-only"}
    assert readers == {*EVALUATORS, "report"}


def test_who_starts_a_run_cannot_move_fixed_gates(package):
    """``gan.frechet_distance=1e9`` let any model pass."""
    spec = client.read_package(package)
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"data_uri"}
    for task in spec["root"]["dag"]["tasks"].values():
        assert not {"overrides", "thresholds"} & task.get("inputs", {}).get("parameters", {}).keys()
    for given in ("overrides", "thresholds"):
        with pytest.raises(InputError, match=f"There is no run parameter {given}"):
            client.run_parameters(spec, {given: "gan.frechet_distance=1e9"})


def test_moved_gates_are_on_the_card():
    """A version that passed softer gates looked like any other."""
    softer = "evaluator.gates.gan.fd_over_floor.threshold=1e9"
    config = load_config("full", overrides=[softer])
    words = changed_gates(config, "gan")
    assert re.match(r"fd_over_floor max 1e\+09.* \(in the profile full: max ", words)
    assert changed_gates(config, "diffusion") == ""
    assert "has no gate" in changed_gates(
        load_config("full", overrides=["evaluator.gates.gan=[]"]), "gan"
    )
    said = list(overview(Facts(model="gan", metrics={}, lineage={CHANGED_GATES: words})))
    assert said[1] == f"Gates that were changed for this run: {words}."


def test_runs_and_schedules_have_the_account_of_the_package(package, monkeypatch, tmp_path):
    """Every pod ran as pipeline-runner, which reads all Secrets and creates pods."""
    from pipeline.kubeflow import schedule

    assert client.packaged_account(client.read_package(package)) == "inkwell-runner"
    asked = []

    class Kfp:
        def run_pipeline(self, **given):
            asked.append(given["service_account"])
            return type("Run", (), {"run_id": "1"})

        class recurring_runs:
            @staticmethod
            def recurring_run_service_create_recurring_run(recurring_run):
                asked.append(recurring_run.service_account)
                return type("Made", (), {"recurring_run_id": "2"})

    for module in (client, schedule):
        monkeypatch.setattr(module, "upload", lambda *_: ("p", "v", "note"))
        monkeypatch.setattr(module, "find_experiment", lambda *_, **__: "e")
    monkeypatch.setattr(schedule, "schedules", lambda *_: [])
    from pipeline.kubeflow.access import Endpoint

    endpoint = Endpoint("http://localhost:1", None, None, None, False)
    for account in (None, "mine"):
        job = client.read_job(package, {}, service_account=account)
        client.submit(Kfp(), endpoint, job)
        schedule.create(Kfp(), endpoint, job, "s", "@daily")
    assert asked == ["inkwell-runner"] * 2 + ["mine"] * 2


@pytest.mark.parametrize("command", [["submit"], ["schedule", "create"]])
def test_the_account_is_an_option(command):
    from pipeline.cli.main import app

    said = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
    assert "--service-account" in said


@needs_kubectl
def test_the_account_may_do_what_the_launcher_needs_and_no_more():
    """A task that was taken over owned the namespace of KFP."""
    text = render("kubeflow/rights")
    [role] = documents(text, "Role")
    allowed = {
        (resource, *rule.get("resourceNames", ["*"])): set(rule["verbs"])
        for rule in role["rules"]
        for resource in rule["resources"]
    }
    assert allowed == {
        ("configmaps", "kfp-launcher"): {"get"},
        ("secrets", "mlpipeline-minio-artifact"): {"get"},
        ("pods", "*"): {"get"},
        ("workflows", "*"): {"get"},
        ("workflowtaskresults", "*"): {"create", "patch"},
    }
    [binding] = documents(text, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [s["name"] for s in binding["subjects"]] == [*named(text, "ServiceAccount")]


@needs_kubectl
def test_a_task_reaches_neither_metadata_of_the_cloud_nor_strangers():
    """A task reached every address, a node's credentials included."""
    [policy] = documents(render("kubeflow/rights"), "NetworkPolicy")
    spec = policy["spec"]
    assert spec["podSelector"]["matchLabels"] == {"pipelines.kubeflow.org/v2_component": "true"}
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"} and "ingress" not in spec
    excepted = set()
    for rule in spec["egress"]:
        assert rule["ports"] and rule["to"]
        for peer in rule["to"]:
            assert "ipBlock" in peer or "namespaceSelector" in peer
            excepted |= {*peer.get("ipBlock", {}).get("except", ())}
    assert {"169.254.0.0/16", "fd00:ec2::254/128"} <= excepted


@needs_kubectl
@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_the_second_claim_of_an_environment_only_reads(environment):
    text = render(f"kubeflow/{environment}")
    claims, volumes = named(text, "PersistentVolumeClaim"), named(text, "PersistentVolume")
    writing = claims[f"inkwell-models-{environment}"]["spec"]
    reading = claims[f"inkwell-models-{environment}-read-only"]["spec"]
    assert (writing["accessModes"], reading["accessModes"]) == (["ReadWriteMany"], ["ReadOnlyMany"])
    first, second = (volumes[claim["volumeName"]]["spec"] for claim in (writing, reading))
    assert second["nfs"] == {**first["nfs"], "readOnly": True}
    assert "ro" in second["mountOptions"]
