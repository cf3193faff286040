"""The entrypoint of a pod: what it makes of the backend's message, and of what is wrong with it."""

import dataclasses
import json
import subprocess
import sys

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from core.config import InputError
from core.origin import ORIGIN_PROPERTY, origin
from pipeline.config import load_config
from pipeline.kubeflow import entrypoint
from pipeline.kubeflow.compiler import tfx_spec
from pipeline.kubeflow.spec import CONFIG_VARIABLE, OVERRIDES, WITHOUT_SETTINGS
from pipeline.plan import NODES
from tests.conftest import ROOT

MODEL = "title: tfx.Model\ntype: object\n"


def request(**outputs: str) -> pb.ExecutorInput:
    """A message with one input, ``model``, as KFP sends it: without its type."""
    model = {"name": "17", "uri": "minio://bucket/root/model", "type": {"instanceSchema": ""}}
    model["metadata"] = {"display_name": "model", "blessed": 1.0}
    return json_format.ParseDict(
        {
            "inputs": {"artifacts": {"model": {"artifacts": [model]}}},
            "outputs": {
                "artifacts": {
                    name: {"artifacts": [{"uri": f"minio://bucket/root/{name}", "type": kind}]}
                    for name, kind in outputs.items()
                },
                "outputFile": "/minio/bucket/root/output_metadata.json",
            },
        },
        pb.ExecutorInput(),
    )


def spec(*names: str) -> pb.ComponentInputsSpec:
    artifacts = {name: {"artifactType": {"instanceSchema": MODEL}} for name in names}
    return json_format.ParseDict({"artifacts": artifacts}, pb.ComponentInputsSpec())


def only(found: pb.ArtifactList) -> pb.RuntimeArtifact:
    [artifact] = found.artifacts
    return artifact


def test_types_come_back_from_the_components_spec():
    message = request()
    entrypoint.fill_types(message, spec("model"))
    assert only(message.inputs.artifacts["model"]).type.instance_schema == MODEL


def test_a_type_that_is_there_stays():
    message = request()
    only(message.inputs.artifacts["model"]).type.schema_title = "tfx.Examples"
    entrypoint.fill_types(message, spec("model"))
    assert only(message.inputs.artifacts["model"]).type.schema_title == "tfx.Examples"


def test_an_artifact_that_the_component_does_not_take_is_named():
    with pytest.raises(entrypoint.EntrypointError, match="artifact model that the component"):
        entrypoint.fill_types(request(), spec("other"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("minio://mlpipeline/a/b", "/minio/mlpipeline/a/b"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("gs://bucket/a", "/gcs/bucket/a"),
    ],
)
def test_urls_are_paths_of_the_launchers_copies_and_back(url, path):
    for root in ("", "/scratch"):
        paths = entrypoint.Paths(root)
        assert paths.local(url, "model") == root + path
        assert paths.remote(f"from {root}{path}/x") == f"from {url}/x"


def test_a_url_of_another_store_is_named_with_its_artifact():
    with pytest.raises(entrypoint.EntrypointError, match="artifact model has the URI 'file:///x'"):
        entrypoint.Paths("").local("file:///x", "model")


def test_inputs_remember_where_they_came_from(tmp_path):
    message = request(report={"schemaTitle": "tfx.ModelEvaluation"})
    copy = tmp_path / "minio" / "bucket" / "root" / "model"
    paths = entrypoint.Paths(str(tmp_path))
    with pytest.raises(entrypoint.EntrypointError, match="artifact model is not at .*bucket"):
        entrypoint.use_local_paths(message, paths)

    copy.mkdir(parents=True)
    message = request(report={"schemaTitle": "tfx.ModelEvaluation"})
    entrypoint.use_local_paths(message, paths)
    model = only(message.inputs.artifacts["model"])
    assert model.uri == str(copy)
    assert model.metadata[ORIGIN_PROPERTY] == "minio://bucket/root/model"
    assert only(message.outputs.artifacts["report"]).uri == str(copy.with_name("report"))


def test_an_empty_directory_is_there_for_the_next_node_though_no_store_keeps_it(tmp_path):
    made, full = tmp_path / "made", tmp_path / "full"
    made.mkdir()
    (full / "inner").mkdir(parents=True)
    (full / "inner" / "BLESSED").touch()
    answer = json_format.ParseDict(
        {
            "artifacts": {
                "made": {"artifacts": [{"uri": str(made)}]},
                "full": {"artifacts": [{"uri": str(full)}]},
            }
        },
        pb.ExecutorOutput(),
    )
    entrypoint.mark_empty(answer)
    assert entrypoint.EMPTY_PROPERTY in only(answer.artifacts["made"]).metadata
    assert entrypoint.EMPTY_PROPERTY not in only(answer.artifacts["full"]).metadata

    message = request()
    only(message.inputs.artifacts["model"]).metadata[entrypoint.EMPTY_PROPERTY] = 1.0
    entrypoint.use_local_paths(message, entrypoint.Paths(str(tmp_path)))
    assert list((tmp_path / "minio" / "bucket" / "root" / "model").iterdir()) == []


def test_origin_is_the_url_on_a_cluster_and_the_path_elsewhere():
    from tfx.types import standard_artifacts

    artifact = standard_artifacts.Model()
    artifact.uri = "/here"
    assert origin(artifact) == "/here"
    artifact.set_string_custom_property(ORIGIN_PROPERTY, "s3://there")
    assert origin(artifact) == "s3://there"


def test_what_the_launcher_adds_is_forgotten():
    # Where the backend publishes logs, it lists them among a component's outputs.
    message = request(model={"instanceSchema": MODEL})
    logs = {"uri": "minio://bucket/root/executor-logs", "type": {"schemaTitle": "system.Artifact"}}
    found = json_format.ParseDict({"artifacts": [logs]}, pb.ArtifactList())
    message.outputs.artifacts["executor-logs"].CopyFrom(found)
    entrypoint.drop_launchers_own(message)
    assert list(message.outputs.artifacts) == ["model"]


def test_answers_hold_urls_and_no_nulls():
    answer = json_format.ParseDict(
        {
            "artifacts": {
                "blessing": {
                    "artifacts": [
                        {
                            "uri": "/scratch/minio/bucket/root/blessing",
                            "metadata": {
                                "current_model": "/scratch/minio/bucket/root/model",
                                "pushed_destination": "/models/gan/17",
                                "blessed": 1,
                                "nothing": None,
                            },
                        }
                    ]
                }
            }
        },
        pb.ExecutorOutput(),
    )
    entrypoint.use_remote_urls(answer, entrypoint.Paths("/scratch"))
    blessing = only(answer.artifacts["blessing"])
    assert blessing.uri == "minio://bucket/root/blessing"
    assert json_format.MessageToDict(blessing.metadata) == {
        "current_model": "minio://bucket/root/model",
        "pushed_destination": "/models/gan/17",
        "blessed": 1.0,
    }


OVERRIDDEN = ["gan.epochs=7", "seed=5", "data.max_images=2000"]
THRESHOLD = "evaluator.gates.gan.frechet_distance.threshold=20"


def test_overrides_give_every_node_what_compiling_with_them_does(cluster, monkeypatch):
    def compiled(*overrides: str) -> dict:
        config = load_config("smoke", "/data", [*overrides, "serving_dir=/models"])
        return tfx_spec(config, cluster)[0]["root"]["dag"]["tasks"]

    config = load_config("smoke", "/data", ["serving_dir=/models"])
    monkeypatch.setenv(CONFIG_VARIABLE, json.dumps(dataclasses.asdict(config)))
    usual, expected = compiled(), compiled(*OVERRIDDEN, THRESHOLD)
    differing = set()
    for node_id in set(NODES) - WITHOUT_SETTINGS:
        constants = {
            name: source["runtimeValue"]["constant"]
            for name, source in usual[node_id]["inputs"].get("parameters", {}).items()
        }
        run = {
            OVERRIDES: " ".join(OVERRIDDEN),
            "thresholds": "gan.frechet_distance=20",
            "data_uri": "/data",
        }
        message = json_format.ParseDict(
            {"inputs": {"parameterValues": {**constants, **run}}}, pb.ExecutorInput()
        )
        entrypoint._override_settings(node_id, message)
        values = json_format.MessageToDict(message)["inputs"]["parameterValues"]
        assert values == {
            name: source["runtimeValue"]["constant"]
            for name, source in expected[node_id]["inputs"]["parameters"].items()
        }, node_id
        if values != constants:
            differing.add(node_id)
    assert {"example-gen", "data-gate", "gan", "judge", "evaluate-gan", "report"} <= differing


def test_without_overrides_the_compiled_settings_are_not_even_read(monkeypatch):
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    values = {"custom_config": "{}", OVERRIDES: "", "data_fingerprint": "abc"}
    message = json_format.ParseDict({"inputs": {"parameterValues": values}}, pb.ExecutorInput())
    entrypoint._override_settings("gan", message)
    assert json_format.MessageToDict(message.inputs.parameter_values["custom_config"]) == "{}"
    assert list(message.inputs.parameter_values) == ["custom_config"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"overrides": "gan.epoch=3"}, "did you mean epochs"),
        ({"overrides": "gan.epochs"}, "not of the form key=value"),
        ({"overrides": "serving_dir=/elsewhere"}, "cannot be set for a run"),
        ({"thresholds": "gan=3"}, "not of the form model.metric=value"),
        ({"thresholds": "gan.frechet_distance"}, "not of the form model.metric=value"),
        ({"thresholds": "gan.frechet=3"}, "Unknown setting evaluator.gates.gan.frechet"),
        ({"thresholds": "gan.frechet_distance=low"}, "must be of type float"),
        ({"data_uri": " "}, "data_dir must be a path that is not empty"),
    ],
)
def test_a_slip_in_a_run_parameter_is_one_sentence(parameters, words):
    with pytest.raises(InputError) as caught:
        entrypoint.overridden_config(parameters, load_config("smoke"))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_compiled_configuration_itself_is_no_override():
    config = load_config("smoke", "/data")
    assert entrypoint.overridden_config({"data_uri": "/data", "overrides": ""}, config) is None
    changed = entrypoint.overridden_config({"data_uri": "/other"}, config)
    assert changed == dataclasses.replace(config, data_dir="/other")


def test_a_package_compiled_before_the_entry_moved_still_starts():
    command = [sys.executable, "-m", "pipeline.kubeflow_entrypoint"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "required: --node_id, --executor_class_path" in done.stderr


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"parameterValues": {"thresholds": "gan=3"}}, 2, "gan: gan=3 in thresholds is not of"),
        ({"artifacts": {"model": {"artifacts": [{}]}}}, 1, "gan: KFP passed an artifact model"),
    ],
)
def test_the_users_mistake_ends_with_2_and_the_backends_with_1(
    message, code, words, monkeypatch, capsys
):
    monkeypatch.setenv(CONFIG_VARIABLE, json.dumps(dataclasses.asdict(load_config("smoke"))))
    flags = ("node_id=gan", "executor_class_path=none.such")
    flags += (f"json_serialized_invocation_args={json.dumps({'inputs': message})}",)
    assert entrypoint.main([f"--{flag}" for flag in flags]) == code
    assert capsys.readouterr().err.startswith(words)
