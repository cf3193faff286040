"""What ``inkwell compile`` writes: its meaning, and that the backend and the SDK take it."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format

from benchmarks import kubeflow_backend as backend_sim
from core.config import InputError
from pipeline.config import load_config
from pipeline.kubeflow import settings
from pipeline.kubeflow import spec as kubeflow_spec
from pipeline.kubeflow.cluster import DATA_DIGEST
from pipeline.kubeflow.compiler import compile_options, compile_pipeline, tfx_spec
from pipeline.plan import NODES, TRAINERS
from tests.conftest import ROOT
from tests.kubeflow.golden import meaning, waits_for

GOLDEN = Path(__file__).with_name("golden.yaml")


def tasks(spec) -> dict:
    return spec["root"]["dag"]["tasks"]


def container(spec, node_id: str) -> dict:
    return spec["deploymentSpec"]["executors"][f"{node_id}_executor"]["container"]


def test_it_means_what_it_shall_mean(package):
    # A wanted change is written down by the command in golden.py and read in the diff.
    assert meaning(package) == yaml.safe_load(GOLDEN.read_text())


def test_its_order_is_that_of_the_plan(spec):
    def of_plan(name: str) -> set[str]:
        return {DATA_DIGEST, *NODES[name]}.union(*map(of_plan, NODES[name]))

    assert {name: waits_for(tasks(spec), name) for name in tasks(spec)} == {
        **{name: of_plan(name) for name in NODES},
        DATA_DIGEST: set(),
    }


def test_the_sdk_loads_it(package):
    from kfp import components

    loaded = components.load_component_from_file(str(package))
    assert loaded.name == "inkwell"
    assert set(loaded.component_spec.inputs) == set(kubeflow_spec.PARAMETERS)
    assert "kubernetes" in loaded.platform_spec.platforms


def test_the_backend_takes_it_and_nothing_unknown(package, spec):
    backend_sim.load(package)
    document = next(d for d in yaml.safe_load_all(package.read_text()) if "platforms" in d)
    kubeflow_spec.check(spec, document)
    [executor] = [
        settings
        for label, settings in document["platforms"]["kubernetes"]["deploymentSpec"][
            "executors"
        ].items()
        if label == "gan_executor"
    ]
    executor["nodeSelectors"] = {}
    with pytest.raises(json_format.ParseError, match="nodeSelectors"):
        kubeflow_spec.check(spec, document)
    del executor["nodeSelectors"]
    del document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["gan_executor"]
    with pytest.raises(ValueError, match="different nodes"):
        kubeflow_spec.check(spec, document)


def test_names_that_argo_refuses_are_found(spec):
    broken = json.loads(json.dumps(spec))
    tasks(broken)["Trainer.mnist"] = tasks(broken).pop("gan")
    with pytest.raises(InputError, match=r"Trainer\.mnist is not a valid Argo name"):
        kubeflow_spec.check_names(broken)


def test_every_run_parameter_has_a_default_even_for_data_that_cannot_be_read(cluster, tmp_path):
    elsewhere = dataclasses.replace(cluster, data_uri="/data/of/the/cluster")
    compile_pipeline(load_config("smoke"), elsewhere, tmp_path / "p.yaml")
    spec, _ = backend_sim.load(tmp_path / "p.yaml")
    values = backend_sim.root_parameters(spec, {})
    assert values[kubeflow_spec.DATA_URI] == "/data/of/the/cluster"


def test_the_first_task_sees_the_data_and_is_never_cached(spec, platform):
    assert not tasks(spec)[DATA_DIGEST]["cachingOptions"]["enableCache"]
    assert [mount["mountPath"] for mount in platform[DATA_DIGEST]["pvcMount"]] == ["/data"]
    assert container(spec, DATA_DIGEST)["args"] == ["{{$}}"]


def test_without_a_root_of_its_own_a_package_leaves_it_to_the_cluster(cluster, tmp_path):
    own = dataclasses.replace(cluster, pipeline_root=None)
    compile_pipeline(load_config("smoke"), own, tmp_path / "p.yaml")
    spec, _ = backend_sim.load(tmp_path / "p.yaml")
    assert "defaultPipelineRoot" not in spec
    assert "the-run-decides" not in (tmp_path / "p.yaml").read_text()


def test_platform_settings_of_the_user_reach_every_pod(spec, platform):
    for node_id in NODES:
        pod = platform[node_id]
        assert pod["imagePullPolicy"] == "IfNotPresent"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == "1000"
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["registry"]
        secrets = [secret["keyToEnv"] for secret in pod.get("secretAsEnv", ())]
        given = (
            [[{"secretKey": "key", "envVar": "ACCESS_KEY"}]]
            if node_id in kubeflow_spec.READERS
            else []
        )
        assert secrets == given
        assert {"name": "TZ", "value": "UTC"} in container(spec, node_id)["env"]
    for old in platform.values():
        for mount in old.get("pvcMount", []):  # both spellings say the same
            name = mount["pvcNameParameter"]["runtimeValue"]["constant"]
            assert name == mount["constant"]


def test_an_old_backend_gets_no_security_context(cluster, tmp_path):
    old = dataclasses.replace(cluster, run_as_user=None)
    compile_pipeline(load_config("smoke"), old, tmp_path / "p.yaml")
    assert "securityContext" not in (tmp_path / "p.yaml").read_text()


def test_the_settings_travel_in_words_outside_the_cache_key(spec, cluster):
    variables = {v["name"]: v["value"] for v in container(spec, "gan")["env"]}
    assert variables[settings.VARIABLE] == "smoke"
    expected = load_config("smoke", cluster.data_uri)
    assert settings.config_of("smoke") == dataclasses.replace(
        expected, serving_dir=cluster.serving_store.mount
    )


def test_a_setting_changes_the_key_of_the_nodes_that_it_concerns(cluster, spec, tmp_path):
    changed = load_config("smoke", overrides=["gan.epochs=7", "seed=1"])
    compile_pipeline(changed, cluster, tmp_path / "p.yaml")
    other, _ = backend_sim.load(tmp_path / "p.yaml")
    assert {v["name"]: v["value"] for v in container(other, "judge")["env"]}[
        settings.VARIABLE
    ] == "smoke gan.epochs=7"
    different = {n for n in NODES if container(spec, n)["args"] != container(other, n)["args"]}
    assert different == {"gan", "report"}  # the report shows all settings


def test_a_task_holds_nothing_that_its_pod_resolves(spec):
    known = {*kubeflow_spec.PARAMETERS, kubeflow_spec.RUN_ID, kubeflow_spec.CONTENT}
    for node_id in NODES:
        component = spec["components"][node_id]
        assert set(component.get("inputDefinitions", {})) <= {"parameters"}
        assert set(component.get("inputDefinitions", {}).get("parameters", {})) <= known
        for output in component["outputDefinitions"]["artifacts"].values():
            assert list(output["artifactType"]) == ["schemaTitle"]


def test_code_is_part_of_the_cache_key(spec):
    stock = {"example-validator"}  # as TFX ships it
    for node_id in NODES:
        flags = [word for word in container(spec, node_id)["args"] if word.startswith("--code=")]
        assert len(flags) == (node_id not in stock), node_id
        assert all(re.fullmatch(r"--code=[0-9a-f]{16}", flag) for flag in flags)


def test_nodes_that_take_no_overrides_have_no_settings(cluster):
    # Another value for everything that can be set: what does not change has nothing to override.
    def compiled(*overrides: str) -> dict:
        return tfx_spec(load_config("smoke", "/data", overrides), cluster)[0]

    changed = compiled(
        "seed=7",
        "data.max_images=2000",
        *(f"{part}.epochs=7" for part in ("judge", "autoencoder", "diffusion", "gan")),
        *(f"finetune_{part}.epochs=7" for part in ("autoencoder", "diffusion")),
        "serving_check.latency_requests=7",
    )
    usual = compiled()
    constants = kubeflow_spec.constants
    same = {n for n in NODES if constants(usual, n) == constants(changed, n)}
    assert same == kubeflow_spec.WITHOUT_SETTINGS


def test_the_data_gate_alone_is_never_retried(spec):
    retried = {name for name, task in tasks(spec).items() if backend_sim.allowed_retries(task)}
    assert {*NODES, DATA_DIGEST} - retried == {"data-gate"}
    policy = tasks(spec)["gan"]["retryPolicy"]
    assert (policy["maxRetryCount"], policy["backoffDuration"]) == (2, "60s")
    # Longer than any training: Argo counts from the first attempt's start.
    assert int(policy["backoffMaxDuration"].removesuffix("s")) >= 48 * 3600


def test_only_trainers_ask_for_gpus_and_all_do(spec, platform):
    asking = {n for n in NODES if "accelerator" in container(spec, n)["resources"]}
    assert asking == set(TRAINERS)
    assert asking == {n for n in NODES if "tolerations" in platform[n]}


def test_the_command_takes_under_twenty_seconds_and_is_quiet(tmp_path):
    command = [sys.executable, "-m", "pipeline.cli.main", "compile", "-o", str(tmp_path / "p.yaml")]
    before = os.times()
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}
    )
    after = os.times()
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    first, note = result.stdout.splitlines()
    assert first.endswith(
        "profile full, 22 nodes, 6 of them on GPU nodes; data /app/data/mnist, "
        "artifacts minio://mlpipeline/inkwell."
    )
    assert note.startswith("Note: inkwell-cpu and inkwell-gpu have no tag")
    backend_sim.load(tmp_path / "p.yaml")
    # CPU time: the clock would measure what else the machine does.
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 20


@pytest.mark.parametrize(("extends", "profile"), [("extends: smoke\n", "smoke"), ("", "full")])
def test_own_settings_are_those_of_the_package(tmp_path, extends, profile):
    own = tmp_path / "my.yaml"
    own.write_text(f"{extends}gan:\n  epochs: 7\n")
    notes = compile_options(tmp_path / "p.yaml", None, own)
    assert f"profile {profile}, 22 nodes" in notes[0]
    assert re.search(rf"\b{profile} [^\n]*gan\.epochs=7", (tmp_path / "p.yaml").read_text())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "p.json"], "p.json must end in .yaml"),
        (["-o", "/proc/p.yaml"], "/proc/p.yaml cannot be written in /proc"),
        (["--set", "evaluator.gates.gan=[]"], "evaluator.gates.gan is empty"),
        (["--set", "mlflow=mlruns"], "mlflow is for runs on this machine; leave it out here."),
        (["--set", "gan.warm_start=true"], "warm_start is for runs on this machine; set it to"),
        (["-o", "none/p.yaml"], "(No such file or directory); name another file"),
        (["--data", "data/mnist"], "--data must be an absolute path"),
        (["--cluster", "none.yaml"], "none.yaml cannot be read"),
        (["--images", "none.json"], "none.json cannot be read"),
        (["--set", "gan.epoch=2"], "did you mean epochs?"),
        (["--profile", "ful"], "did you mean full?"),
        (["--config", "none.yaml"], "none.yaml cannot be read (No such file"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, options, words):
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["compile", *options])
    assert result.exit_code == 2
    assert words in result.output and result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failed_compile_leaves_the_old_file(tmp_path, cluster, monkeypatch):
    path = tmp_path / "p.yaml"
    path.write_text("old")
    monkeypatch.setattr(kubeflow_spec, "EVALUATORS", None)
    with pytest.raises(TypeError):
        compile_pipeline(load_config("smoke"), cluster, path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
