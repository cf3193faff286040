"""Artifacts that somebody else wrote: models, pictures, and what a pod kept beside them."""

import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from tfx.types import standard_artifacts

from components.trainer import component as trainer
from core import artifacts
from core.artifacts import check_files, read_evaluation, read_stage, record_files
from core.config import InputError
from pipeline.kubeflow import entrypoint

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


def model(folder: Path):
    """A Model artifact as a trainer leaves it."""
    for file in ("Format-Serving/saved_model.pb", "Format-Keras/encoder.keras", "history.json"):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    made = standard_artifacts.Model()
    made.uri = str(folder)
    record_files(made)
    return made


@pytest.mark.parametrize(
    "file", ["Format-Serving/saved_model.pb", "Format-Keras/encoder.keras", "Format-Serving/new"]
)
def test_a_model_that_another_replaced_is_not_loaded(tmp_path, file):
    """Somebody with write access to the bucket put a program in the place of a model."""
    made = model(tmp_path)
    check_files(made)
    (tmp_path / file).write_text("import os")
    with pytest.raises(InputError, match="are not those that its trainer wrote, so it is not load"):
        check_files(made)


def test_a_model_without_a_digest_is_not_loaded(tmp_path):
    """Somebody made an artifact by hand."""
    made = model(tmp_path)
    made.set_string_custom_property(artifacts.MODEL_DIGEST, "")
    with pytest.raises(InputError, match="have no digest of a trainer"):
        check_files(made)


def test_the_digest_stays_with_kfp_and_not_in_the_bucket(tmp_path):
    """What is long goes to a file in the bucket, where who replaced a model could replace it."""
    made = model(tmp_path)
    digest = made.get_string_custom_property(artifacts.MODEL_DIGEST)
    assert 20 < len(digest) <= entrypoint.LONGEST_PROPERTY


def test_what_a_runner_adds_to_a_model_is_not_of_the_trainer(tmp_path):
    made = model(tmp_path)
    (tmp_path / entrypoint.KEPT_FILE).write_text("{}")
    check_files(made)


def test_a_trainer_records_its_model_and_loads_no_base_model_of_others(tmp_path, monkeypatch):
    """The base model of a fine-tuning was replaced: Keras would have loaded it."""
    trained = []

    def train(self, inputs, outputs, properties):
        trained.append(outputs["model"][0].uri)
        model(tmp_path / "made")

    monkeypatch.setattr(trainer.GenericExecutor, "Do", train)
    base, made = model(tmp_path / "base"), standard_artifacts.Model()
    made.uri = str(tmp_path / "made")
    trainer.Executor().Do({"base_model": [base]}, {"model": [made]}, {})
    check_files(made)
    assert trained == [made.uri]

    (tmp_path / "base" / "Format-Keras" / "encoder.keras").write_text("import os")
    with pytest.raises(InputError, match="not those that its trainer wrote"):
        trainer.Executor().Do({"base_model": [base]}, {"model": [made]}, {})
    assert trained == [made.uri]


@pytest.mark.parametrize(
    "node", ["evaluator.executor", "serving_check.component", "pusher.component"]
)
def test_every_node_that_takes_a_model_checks_it_before_anything_else(tmp_path, node, monkeypatch):
    """A replaced model reached evaluator, serving check and pusher."""
    import importlib

    module = importlib.import_module(f"components.{node}")
    for name in ("evaluate", "push"):  # the next step of each
        if hasattr(module, name):
            monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setattr("core.digits.read_digits", lambda _: type("Digits", (), {"images": None}))
    monkeypatch.setattr(
        "components.serving_check.check.check_model", lambda *_: pytest.fail("it was loaded")
    )
    kinds = {"infra_blessing": "InfraBlessing", "model_blessing": "ModelBlessing"}
    kinds |= {"evaluation": "ModelEvaluation", "examples": "Examples"}
    inputs = {name: getattr(standard_artifacts, kind)() for name, kind in kinds.items()}
    for name, artifact in inputs.items():
        artifact.uri = str(tmp_path / name)
        artifact.set_int_custom_property("blessed", 1)
    inputs |= {"model": model(tmp_path / "model"), "judge": model(tmp_path / "judge")}
    (tmp_path / "model" / "Format-Serving" / "saved_model.pb").write_text("import os")
    outputs = {"blessing": standard_artifacts.InfraBlessing(), "evaluation": inputs["evaluation"]}
    outputs["pushed_model"] = standard_artifacts.PushedModel()
    properties = {"model_name": "gan", "config": "{}", "serving_dir": str(tmp_path)}
    with pytest.raises(InputError, match="model are not those that its trainer wrote"):
        module.Executor().Do(
            {name: [artifact] for name, artifact in inputs.items()},
            {name: [artifact] for name, artifact in outputs.items()},
            {**properties, "keep_versions": 5, "data_dir": ""},
        )


@pytest.mark.parametrize(
    "name", ["../../victim/secret", "/etc/hostname", "figures/../../secret", "a\0.png", 7, "out"]
)
def test_an_evaluation_names_no_file_outside_itself(tmp_path, name):
    """metrics.json named files of the report's pod as pictures, and the page published them."""
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(PNG)
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "metrics.json").write_text(json.dumps({"images": [{"file": name}]}))
    with pytest.raises(InputError, match="not the name of a file below it"):
        read_evaluation(str(folder))


def test_a_picture_is_a_png(tmp_path):
    """metrics.json named another file of the artifact, such as a program, as a picture."""
    (tmp_path / "metrics.json").write_text(json.dumps({"images": [{"file": "figures/a.png"}]}))
    assert read_evaluation(str(tmp_path))[1][0].png is None
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(PNG)
    assert read_evaluation(str(tmp_path))[1][0].png == PNG
    (tmp_path / "figures" / "a.png").write_text("root:x:0:0")
    with pytest.raises(InputError, match="is no PNG"):
        read_evaluation(str(tmp_path))


def test_a_training_shows_no_file_outside_itself(tmp_path):
    """A link among the samples led to a file of the report's pod."""
    (tmp_path / "secret").write_bytes(PNG)
    (tmp_path / "model" / "samples").mkdir(parents=True)
    (tmp_path / "model" / "samples" / "step_1.png").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="not the name of a file below it"):
        read_stage("Training", str(tmp_path / "model"))


def kept(tmp_path: Path) -> tuple[pb.ExecutorInput, Path, entrypoint.Paths]:
    """A refused verdict whose long properties are in the bucket, as the next pod gets it."""
    paths = entrypoint.Paths(str(tmp_path))
    folder = Path(paths.local("minio://bucket/root/verdict", "verdict"))
    folder.mkdir(parents=True)
    there = {"blessed": 0, "model_files": "f" * 200}
    artifact = {"uri": str(folder), "metadata": there}
    answer = json_format.ParseDict(
        {"artifacts": {"verdict": {"artifacts": [artifact]}}}, pb.ExecutorOutput()
    )
    entrypoint.keep_small(answer, paths)
    entrypoint.use_remote_urls(answer, paths)
    message = pb.ExecutorInput()
    message.inputs.artifacts["verdict"].CopyFrom(answer.artifacts["verdict"])
    return message, folder / entrypoint.KEPT_FILE, paths


def test_properties_in_the_bucket_are_those_of_the_task(tmp_path):
    message, _, paths = kept(tmp_path)
    entrypoint.use_local_paths(message, paths)
    [verdict] = message.inputs.artifacts["verdict"].artifacts
    assert (verdict.metadata["blessed"], verdict.metadata["model_files"]) == (0, "f" * 200)


@pytest.mark.parametrize("fault", ["blessed", "gone", "made"])
def test_a_verdict_is_not_changed_in_the_bucket(tmp_path, fault):
    """Somebody wrote ``"blessed": 1`` into the file of long properties, which overrode the rest."""
    message, file, paths = kept(tmp_path)
    [verdict] = message.inputs.artifacts["verdict"].artifacts
    if fault == "blessed":
        file.write_text(json.dumps({"blessed": 1, "model_files": "f" * 200}))
    if fault == "gone":
        file.unlink()
    if fault == "made":
        del verdict.metadata.fields[entrypoint.KEPT_PROPERTY]
    with pytest.raises(InputError, match="not the one that its task wrote, in minio://bucket/root"):
        entrypoint.use_local_paths(message, paths)
