"""The entrypoint of a pod: what it makes of the backend's message, and of what is wrong with it."""

import dataclasses
import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from core.config import InputError
from core.origin import ORIGIN_PROPERTY, origin
from pipeline.config import load_config
from pipeline.kubeflow import entrypoint, nodes, settings
from pipeline.kubeflow.compiler import tfx_spec
from pipeline.kubeflow.spec import CONTENT, OVERRIDES, WITHOUT_SETTINGS, constants
from pipeline.plan import NODES

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
        ("s3://acme/exports/s3/inkwell/a", "/s3/acme/exports/s3/inkwell/a"),
        ("gs://acme/minio/gcs/a", "/gcs/acme/minio/gcs/a"),
    ],
)
def test_urls_are_paths_of_the_launchers_copies_and_back(url, path):
    for root in ("", "/scratch"):
        paths = entrypoint.Paths(root)
        assert paths.local(url, "model") == root + path
        assert paths.remote(root + path) == url
        assert paths.remote(f"{root}{path}/x/y") == f"{url}/x/y"


@pytest.mark.parametrize(
    "value",
    [
        "/mnt/s3/models/gan/17",
        "/gcs/models/gan/17",
        "/s3/bucket/root/model_run",
        "/s3/bucket/root",
        "The model in /s3/bucket/root/model is worse.",
        '{"model": "/s3/bucket/root/model"}',
        "s3://bucket/root/model",
        "",
    ],
)
def test_what_is_no_path_of_a_copy_stays_as_it_is(value):
    paths = entrypoint.Paths("")
    paths.local("s3://bucket/root/model", "model")
    assert paths.remote(value) == value


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
    paths = entrypoint.Paths("/scratch")
    for name in ("model", "blessing"):
        paths.local(f"minio://bucket/root/{name}", name)
    entrypoint.use_remote_urls(answer, paths)
    blessing = only(answer.artifacts["blessing"])
    assert blessing.uri == "minio://bucket/root/blessing"
    assert json_format.MessageToDict(blessing.metadata) == {
        "current_model": "minio://bucket/root/model",
        "pushed_destination": "/models/gan/17",
        "blessed": 1.0,
    }


OVERRIDDEN = ["gan.epochs=7", "seed=5", "data.max_images=2000"]
THRESHOLD = "evaluator.gates.gan.frechet_distance.threshold=20"


def compiled(cluster, *overrides: str) -> dict:
    config = load_config("smoke", "/data", [*overrides, "serving_dir=/models"])
    return tfx_spec(config, cluster)[0]


def digest_of(spec: dict, node_id: str) -> str:
    return settings.digest(constants(spec, node_id))


def test_a_pod_resolves_every_node_as_it_was_compiled(cluster, monkeypatch):
    monkeypatch.setenv(settings.VARIABLE, "smoke data_dir=/data gan.epochs=9")
    spec = compiled(cluster, "gan.epochs=9")
    for node_id in NODES:
        found = nodes.resolve_node(node_id, digest_of(spec, node_id), {})
        assert found == nodes.read_node(spec, node_id)
        assert found.parameters == constants(spec, node_id)
    assert found.executor == "components.report.component.Executor"


def test_overrides_give_every_node_what_compiling_with_them_does(cluster, monkeypatch):
    monkeypatch.setenv(settings.VARIABLE, "smoke data_dir=/data")
    usual, expected = compiled(cluster), compiled(cluster, *OVERRIDDEN, THRESHOLD)
    given = {
        OVERRIDES: " ".join(OVERRIDDEN),
        "thresholds": "gan.frechet_distance=20",
        "data_uri": "/data",
    }
    differing = set()
    for node_id in set(NODES) - WITHOUT_SETTINGS:
        node = nodes.resolve_node(node_id, digest_of(usual, node_id), given)
        assert node == nodes.read_node(expected, node_id), node_id
        if node.parameters != constants(usual, node_id):
            differing.add(node_id)
    assert {"example-gen", "data-gate", "gan", "judge", "evaluate-gan", "report"} <= differing


def test_a_reader_gets_the_digest_of_the_data_and_the_path_of_this_run(cluster, monkeypatch):
    from google.protobuf import struct_pb2
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    monkeypatch.setenv(settings.VARIABLE, "smoke")
    spec = tfx_spec(settings.config_of("smoke"), cluster)[0]
    given = {"data_uri": "/data/new", CONTENT: "abc"}

    def resolved(node_id: str) -> dict:
        return nodes.resolve_node(node_id, digest_of(spec, node_id), given).parameters

    schema = resolved("schema")
    assert (schema["data_dir"], schema["content"]) == ("/data/new", "abc")
    example_gen = resolved("example-gen")
    assert example_gen["input_base"] == "/data/new"
    config, packed = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    proto_utils.json_to_proto(example_gen["custom_config"], config)
    config.custom_config.Unpack(packed)
    assert packed["content"] == "abc"


@pytest.mark.parametrize(
    ("node_id", "words", "message"),
    [
        (
            "gan",
            "smoke gan.epochs=3",
            "This image has other settings for the node than the package.",
        ),
        ("vae", "smoke", "This image has other settings for the node than the package."),
        ("gan", "nightly", "cannot read the package's settings: There is no profile 'nightly'"),
        ("gan", "", "cannot read the package's settings: "),
        ("gan", "smoke 'gan", "cannot read the package's settings: "),
    ],
)
def test_an_image_of_another_commit_is_a_mistake_in_one_sentence(
    cluster, monkeypatch, node_id, words, message
):
    monkeypatch.setenv(settings.VARIABLE, words)
    digest = digest_of(tfx_spec(settings.config_of("smoke"), cluster)[0], "gan")
    with pytest.raises(InputError) as caught:
        nodes.resolve_node(node_id, digest, {})
    text = str(caught.value)
    assert message in text and text.endswith(
        "Build the images and compile the pipeline from the same commit."
    )


def test_the_command_of_another_commit_is_a_mistake_in_one_sentence(capsys):
    with pytest.raises(SystemExit) as caught:
        entrypoint.main(["--node_id", "gan", "--executor_class_path", "x.Y"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("This image does not know the package's command (the following ")
    assert said.count("\n") == 1


def test_what_is_long_goes_with_the_artifact_and_comes_back(tmp_path):
    paths = entrypoint.Paths(str(tmp_path))
    folder = Path(paths.local("minio://bucket/root/model", "model"))
    folder.mkdir(parents=True)
    files = json.dumps({f"variables-{i}": "0" * 64 for i in range(9)})
    there = {"model_files": files, "reason": "x" * 300, "blessed": 1, "at": f"{folder}/" + "y" * 99}
    answer = json_format.ParseDict(
        {"artifacts": {"model": {"artifacts": [{"uri": str(folder), "metadata": there}]}}},
        pb.ExecutorOutput(),
    )
    entrypoint.keep_small(answer, paths)
    kept = json_format.MessageToDict(only(answer.artifacts["model"]).metadata)
    digest = kept.pop(entrypoint.KEPT_PROPERTY)
    assert len(digest) == 22
    assert kept == {"reason": "x" * 300, "blessed": 1.0, entrypoint.SESSION_PROPERTY: ""}
    kept[entrypoint.KEPT_PROPERTY] = digest

    message = request()
    only(message.inputs.artifacts["model"]).metadata.update(kept)
    entrypoint.use_local_paths(message, paths)
    back = json_format.MessageToDict(only(message.inputs.artifacts["model"]).metadata)
    assert back["model_files"] == files
    assert back["at"] == "minio://bucket/root/model/" + "y" * 99
    assert entrypoint.KEPT_PROPERTY not in back


def test_what_is_long_stays_where_there_is_no_directory(tmp_path):
    artifact = {"uri": str(tmp_path / "none"), "metadata": {"text": "x" * 300}}
    answer = json_format.ParseDict(
        {"artifacts": {"model": {"artifacts": [artifact]}}}, pb.ExecutorOutput()
    )
    entrypoint.keep_small(answer, entrypoint.Paths(""))
    assert only(answer.artifacts["model"]).metadata["text"] == "x" * 300
    assert list(tmp_path.iterdir()) == []


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
        nodes.overridden_config(parameters, load_config("smoke"))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_compiled_configuration_itself_is_no_override():
    config = load_config("smoke", "/data")
    assert nodes.overridden_config({"data_uri": "/data", "overrides": ""}, config) is None
    changed = nodes.overridden_config({"data_uri": "/other"}, config)
    assert changed == dataclasses.replace(config, data_dir="/other")


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"parameterValues": {"thresholds": "gan=3"}}, 2, "gan: gan=3 in thresholds is not of"),
        ({"artifacts": {"model": {"artifacts": [{}]}}}, 1, "gan: KFP passed an artifact model"),
    ],
)
def test_the_users_mistake_ends_with_2_and_the_backends_with_1(
    message, code, words, cluster, monkeypatch, capsys
):
    monkeypatch.setenv(settings.VARIABLE, "smoke")
    digest = digest_of(tfx_spec(settings.config_of("smoke"), cluster)[0], "gan")
    request = json.dumps({"inputs": message})
    assert entrypoint.main(["gan", request, f"--settings={digest}"]) == code
    assert capsys.readouterr().err.startswith(words)
