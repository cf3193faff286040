import dataclasses
import json
import re

import pytest

pytest.importorskip("tfx")
from core.models import MODELS
from pipeline.config import RunConfig, load_config
from pipeline.pipeline import PIPELINE_NAME, create_pipeline
from pipeline.plan import NODES, TRAINERS

ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")


def compile_ir(config: RunConfig) -> dict:
    """The nodes of the compiled pipeline by id."""
    from tfx.dsl.compiler.compiler import Compiler

    ir = Compiler().compile(create_pipeline(config, "/pipeline-root"))
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}


def parameter(node, name: str) -> str:
    return node.parameters.parameters[name].field_value.string_value


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("smoke", overrides=["data_dir=/data", "serving_dir=/serving"])


@pytest.fixture(scope="module")
def nodes(config) -> dict:
    return compile_ir(config)


def test_the_plan_is_the_pipeline(nodes):
    assert {node_id: set(node.upstream_nodes) for node_id, node in nodes.items()} == {
        node_id: set(needs) for node_id, needs in NODES.items()
    }


def test_names_are_valid_on_a_cluster(nodes):
    assert all(ARGO_NAME.fullmatch(name) for name in [*nodes, PIPELINE_NAME])


def test_no_node_starts_training_before_the_data_has_passed_the_gate(nodes):
    def needs(node_id: str) -> set[str]:
        direct = set(nodes[node_id].upstream_nodes)
        return direct.union(*(needs(other) for other in direct))

    for node_id in ("judge", "autoencoder", "diffusion", "gan"):
        assert "data-gate" in needs(node_id)


def test_trainers_get_their_settings_and_splits(nodes, config):
    node = nodes["gan"]
    assert parameter(node, "run_fn") == "trainer_modules.gan.train.run_fn"
    settings = json.loads(parameter(node, "custom_config"))
    assert settings == {"config": dataclasses.asdict(config.gan)}
    assert json.loads(parameter(node, "train_args"))["splits"] == ["train"]
    assert json.loads(parameter(node, "eval_args"))["splits"] == ["eval"]


def test_trainers_keep_their_state_where_the_next_run_on_this_machine_finds_it(config):
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    connection = sqlite_metadata_connection_config("/out/metadata.sqlite")
    places = {
        component.id: json.loads(component.exec_properties["custom_config"]).get("checkpoint")
        for component in create_pipeline(config, "/out/pipeline", connection).components
        if "custom_config" in component.exec_properties and "run_fn" in component.exec_properties
    }
    assert places == {node_id: f"/out/pipeline/checkpoints/{node_id}" for node_id in TRAINERS}


@pytest.mark.parametrize(
    ("finetune", "base"), [("finetune-ae", "autoencoder"), ("finetune-diffusion", "diffusion")]
)
def test_fine_tuning_starts_from_the_first_training(nodes, finetune, base):
    [channel] = nodes[finetune].inputs.inputs["base_model"].channels
    assert channel.producer_node_query.id == base
    assert parameter(nodes[finetune], "run_fn").endswith(".finetune_fn")


@pytest.mark.parametrize(
    ("short", "candidate"),
    [("ae", "finetune-ae"), ("diffusion", "finetune-diffusion"), ("gan", "gan")],
)
def test_what_is_evaluated_is_what_is_checked_and_pushed(nodes, short, candidate):
    for node_id in (f"evaluate-{short}", f"serving-check-{short}", f"push-{short}"):
        [channel] = nodes[node_id].inputs.inputs["model"].channels
        assert channel.producer_node_query.id == candidate
    pusher = nodes[f"push-{short}"]
    for name, producer in (("model_blessing", "evaluate"), ("infra_blessing", "serving-check")):
        [channel] = pusher.inputs.inputs[name].channels
        assert channel.producer_node_query.id == f"{producer}-{short}"


def test_a_gate_of_one_model_is_no_parameter_of_another(config):
    def settings(config: RunConfig) -> dict[str, str]:
        nodes = compile_ir(config)
        return {s: parameter(nodes[f"evaluate-{s}"], "config") for s in ("ae", "diffusion", "gan")}

    gate = config.evaluator.gates_of("gan")[0]
    gates = {**config.evaluator.gates, "gan": (dataclasses.replace(gate, threshold=1.0),)}
    stricter = dataclasses.replace(
        config, evaluator=dataclasses.replace(config.evaluator, gates=gates)
    )
    before, after = settings(config), settings(stricter)
    assert before["gan"] != after["gan"]
    assert (before["ae"], before["diffusion"]) == (after["ae"], after["diffusion"])


def code_flags(config: RunConfig) -> dict[str, list[str]]:
    return {
        component.id: component.executor_spec.extra_flags
        for component in create_pipeline(config, "/pipeline-root").components
    }


def test_every_node_with_code_of_ours_carries_its_fingerprint(config):
    flags = code_flags(config)
    stock = {"example-validator"}
    assert {node_id for node_id, found in flags.items() if not found} == stock
    for node_id in set(flags) - stock:
        [flag] = flags[node_id]
        assert re.fullmatch(r"--code=[0-9a-f]{16}", flag)


def of(*kinds: str, trainers: bool = True) -> set[str]:
    """The nodes whose code is that of these models: trainers and evaluators."""
    stages = {stage.node_id for kind in kinds for stage in MODELS[kind].stages}
    return {MODELS[kind].evaluator for kind in kinds} | (stages if trainers else set())


@pytest.mark.parametrize(
    ("edited", "affected"),
    [
        ("trainer_modules/gan/model.py", {"gan"}),
        ("trainer_modules/gan/config.py", {"gan"}),
        (
            "trainer_modules/common/config.py",
            set(TRAINERS) | of("autoencoder", "diffusion", trainers=False),
        ),
        ("trainer_modules/autoencoder/model.py", of("autoencoder")),
        ("trainer_modules/diffusion/schedule.py", of("diffusion")),
        ("components/evaluator/parts/discriminator.py", of("gan", trainers=False)),
        ("components/report/report.css", {"report"}),
        ("components/model_card/words/gan.py", {"push-gan", "report"}),
        ("serving/model_server/batching.py", {kind.serving_check for kind in MODELS.values()}),
    ],
)
def test_code_that_is_edited_runs_the_nodes_again_that_use_it_and_no_others(
    config, monkeypatch, edited, affected
):
    from pipeline import fingerprint

    before = code_flags(config)
    read = fingerprint._content
    path = fingerprint.ROOT / edited
    assert path.is_file()
    monkeypatch.setattr(
        fingerprint, "_content", lambda file: read(file) + (b"edited" if file == path else b"")
    )
    after = code_flags(config)
    assert {node_id for node_id in before if before[node_id] != after[node_id]} == affected


def test_it_compiles_for_kubeflow(config, tmp_path):
    runner = pytest.importorskip("tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner")
    settings = runner.KubeflowV2DagRunnerConfig(
        default_image="registry.example/inkwell:1", use_pipeline_spec_2_1=True
    )
    path = tmp_path / "pipeline.yaml"
    runner.KubeflowV2DagRunner(config=settings, output_filename=str(path)).run(
        create_pipeline(config, "/pipeline-root"), write_out=True
    )
    assert all(f"{node_id}_executor:" in path.read_text() for node_id in NODES)
