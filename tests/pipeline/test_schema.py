"""The JSON schemas: they take what ships, refuse what ``inkwell`` refuses, and describe it."""

import functools
import json

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from core.config import InputError
from pipeline.cli.main import app
from pipeline.config import load_config, read_yaml
from pipeline.kubeflow.cluster import DEFAULT_CLUSTER, load_cluster
from pipeline.profiles import PROFILES, profile_names


@functools.cache
def schema_of(name: str) -> dict:
    """As the command prints it."""
    result = CliRunner().invoke(app, ["schema", name])
    assert result.exit_code == 0
    return json.loads(result.stdout)


def complaints(schema: dict, text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("name", ["profile", "cluster"])
def test_a_schema_is_valid_and_takes_every_file_that_ships(name):
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    shipped = {
        "profile": [PROFILES / f"{profile}.yaml" for profile in profile_names()],
        "cluster": [DEFAULT_CLUSTER],
    }[name]
    for path in shipped:
        jsonschema.validate(read_yaml(path), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", ["profile", "cluster"])
def test_every_setting_is_described(name):
    schema = schema_of(name)
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        for setting, about in part["properties"].items():
            # What is made of parts is described there.
            assert about.get("description") or "$ref" in json.dumps(about), setting


def test_a_description_is_the_comments_of_the_base_and_of_the_model():
    about = schema_of("profile")["$defs"]["DiffusionConfig"]["properties"]["epochs"]
    assert about["description"] == (
        "Passes over the train split. Five to eight minutes on two cores."
    )
    assert (about["default"], about["minimum"]) == (6, 1)


PROFILE_SLIPS = [
    "gan: {epoch: 3}",
    "gan: {epochs: 0}",
    "gan: {epochs: '3'}",
    "gan: {precision: float16}",
    "gan: {channels: 6}",
    "data: {max_images: 10}",
    "judge: {dropout: 1.0}",
    "evaluator: {gates: {gan: [{metric: precision, direction: up, threshold: 1}]}}",
    "evaluator: {gates: {gan: [{metric: precision, direction: min}]}}",
    "evaluator: {noise_levels: []}",
    "output_dir: ' '",
]
CLUSTER_SLIPS = [
    "trainer: {gpus: 0}",
    "trainers: {gpus: 99}",
    "nodes: {gann: {cpu: '8'}}",
    "nodes: {gan: {cpus: '8'}}",
    "others: {memory: 2 GB}",
    "pipeline_root: /tmp",
    "serving_store: {claim: My_Models}",
    "image_pull_policy: Sometimes",
    "run_as_user: 0",
    "secrets: [{name: s, env: {}}]",
]


@pytest.mark.parametrize("text", [*PROFILE_SLIPS, *CLUSTER_SLIPS])
def test_what_the_schema_refuses_inkwell_refuses(text, tmp_path, monkeypatch):
    of = "profile" if text in PROFILE_SLIPS else "cluster"
    assert complaints(schema_of(of), text)
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setattr("pipeline.profiles.PROFILES", tmp_path)
    with pytest.raises(InputError):
        load_config("mine") if of == "profile" else load_cluster(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("of", "text"),
    [
        ("profile", "gan: {epochs: 3, gradient_penalty: 2}\ndata: {max_images: null}"),
        ("cluster", "nodes: {gan: {gpus: 2}}\nserving_store: {claim: other}\ngpu: {type: a.b/c}"),
    ],
)
def test_a_file_of_what_differs_is_enough(of, text):
    assert complaints(schema_of(of), text) == []


def test_a_schema_that_does_not_exist_is_told():
    result = CliRunner().invoke(app, ["schema", "gan"])
    assert result.exit_code == 2
    assert "There is a schema of profile and of cluster, not of gan." in result.stderr
