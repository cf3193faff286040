"""The node itself: artifacts in, files and properties out, and what a cluster asks of it."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from components.evaluator.config import EvaluatorConfig, Gate
from components.pusher.push import push
from core.artifacts import record_files
from core.config import InputError
from core.files import digests

GATES = {
    "gan": (Gate("missing_modes", "max", 0.0), Gate("fd_over_floor", "max", 3.0, 0.5, True)),
}


@pytest.fixture
def run_node(tmp_path, judge_uri, examples_uri, small):
    """Runs the executor on a Model directory; gives the two output artifacts."""
    from tfx.types import standard_artifacts

    from components.evaluator.executor import Executor

    def artifact(kind, uri):
        made = kind()
        made.uri = str(uri)
        return made

    def run(model_uri: str, config: EvaluatorConfig | None = None):
        evaluation = artifact(standard_artifacts.ModelEvaluation, tmp_path / "evaluation")
        blessing = artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing")
        config = config or dataclasses.replace(small, gates=GATES)
        model = artifact(standard_artifacts.Model, model_uri)
        judge = artifact(standard_artifacts.Model, judge_uri)
        record_files(model)
        record_files(judge)
        Executor().Do(
            {
                "model": [model],
                "judge": [judge],
                "examples": [artifact(standard_artifacts.Examples, examples_uri)],
            },
            {"evaluation": [evaluation], "blessing": [blessing]},
            {
                "model_name": "gan",
                "config": json.dumps(dataclasses.asdict(config)),
                "serving_dir": str(tmp_path / "serving"),
            },
        )
        return evaluation, blessing

    return run


def test_a_good_model_is_blessed_in_file_and_properties_and_tfx_itself_reads_it(
    run_node, gan_uri, tmp_path
):
    from tfx.components.util import model_utils

    uri = gan_uri("real")
    _, blessing = run_node(uri)
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == ["BLESSED"]
    assert blessing.get_int_custom_property("blessed") == 1
    assert model_utils.is_model_blessed(blessing)
    assert blessing.get_string_custom_property("current_model") == uri
    assert blessing.get_string_custom_property("reason") == "All 2 gates passed."
    judged = json.loads(blessing.get_string_custom_property("model_files"))
    assert judged == digests(f"{uri}/Format-Serving") and "saved_model.pb" in judged
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["blessed"] is True
    assert metrics["champion"] is None
    assert metrics["samples"] == 500
    assert {gate["metric"] for gate in metrics["gates"]} == {"missing_modes", "fd_over_floor"}
    for image in metrics["images"]:
        with Image.open(tmp_path / "evaluation" / image["file"]) as picture:
            assert picture.format == "PNG"
    for table in metrics["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_a_collapsed_model_is_not_blessed_and_the_reason_is_told(run_node, gan_uri, tmp_path):
    _, blessing = run_node(gan_uri("collapsed"))
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == ["NOT_BLESSED"]
    assert blessing.get_int_custom_property("blessed") == 0
    reason = blessing.get_string_custom_property("reason")
    assert "Classes that are missing is 9 (95 %: 9 to 9) and must be at most 0: failed." in reason
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["blessed"] is False


def test_the_newest_version_in_serving_is_the_champion(run_node, gan_uri, tmp_path):
    good = gan_uri("real")
    for version in ("100", "99"):
        shutil.copytree(f"{good}/Format-Serving", tmp_path / "serving" / "gan" / version)
    _, blessing = run_node(gan_uri("collapsed"))
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["champion"]["version"] == "100"
    distance = next(g for g in metrics["gates"] if g["metric"] == "fd_over_floor")
    assert distance["champion"] < 3.0 < distance["value"]
    assert blessing.get_string_custom_property("baseline_model").endswith("serving/gan/100")


def test_the_best_version_that_is_still_there_is_compared_with_as_well(run_node, gan_uri, tmp_path):
    def put(version: str, uri: str, **lineage) -> None:
        place = tmp_path / "serving" / "gan" / version
        shutil.copytree(f"{uri}/Format-Serving", place)
        (place / "assets.extra").mkdir()
        (place / "assets.extra" / "lineage.json").write_text(json.dumps(lineage))

    primary = {"name": "fd_over_floor", "better": "lower"}
    put("100", gan_uri("real"), primary=primary | {"value": 1.1})
    put("101", gan_uri("collapsed"), primary=primary | {"value": 0.4}, quality_gates=False)
    run_node(gan_uri("collapsed"))
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert (metrics["champion"]["version"], metrics["best"]["version"]) == ("101", "100")
    [distance] = [g for g in metrics["gates"] if g["metric"] == "fd_over_floor"]
    assert "is not compared, as its gates did not judge quality" in distance["sentence"]
    assert "the best version so far has" in distance["sentence"]
    assert distance["limit"] < 3.0 < distance["champion"]
    assert metrics["primary"] == "fd_over_floor" and metrics["quality_gates"] is True


def test_a_champion_that_cannot_be_loaded_stops_the_run_and_says_how_to_go_on(
    run_node, gan_uri, tmp_path
):
    (tmp_path / "serving" / "gan" / "7").mkdir(parents=True)
    with pytest.raises(InputError, match=r"serving/gan/7\. Restore that version"):
        run_node(gan_uri("real"))


def test_a_champion_whose_files_changed_stops_the_run(run_node, gan_uri, tmp_path):
    champion = push(f"{gan_uri('real')}/Format-Serving", tmp_path / "serving" / "gan")
    Path(champion.destination, "fingerprint.pb").write_bytes(b"not what was pushed")
    with pytest.raises(InputError, match=r"damaged: fingerprint.pb differs in .*serving/gan/\d+\."):
        run_node(gan_uri("real"))


def test_a_model_that_changes_while_it_is_judged_gets_no_verdict(run_node, gan_uri, monkeypatch):
    from components.evaluator import executor

    def change(model_uri: str, **_):
        Path(model_uri, "Format-Serving", "fingerprint.pb").write_bytes(b"another")

    uri = gan_uri("collapsed")
    changed = shutil.copytree(uri, f"{uri}-changed")
    monkeypatch.setattr(executor, "evaluate", change)
    with pytest.raises(InputError, match="changed while it was judged: fingerprint.pb differs"):
        run_node(str(changed))


def test_a_profile_without_gates_blesses_nothing(run_node, gan_uri, small):
    _, blessing = run_node(gan_uri("real"), small)
    assert blessing.get_int_custom_property("blessed") == 0
    assert "No gate is set for gan" in blessing.get_string_custom_property("reason")


def test_the_node_has_string_parameters_and_standard_types_only():
    from tfx.types import channel, standard_artifacts

    from components.evaluator.component import Evaluator

    model = channel.Channel(type=standard_artifacts.Model)
    node = Evaluator(
        model=model,
        judge=channel.Channel(type=standard_artifacts.Model),
        examples=channel.Channel(type=standard_artifacts.Examples),
        model_name="gan",
        config="{}",
        serving_dir="serving_models",
    ).with_id("evaluate-gan")
    assert node.id == "evaluate-gan"
    assert {type(value) for value in node.exec_properties.values()} == {str}
    assert node.outputs["evaluation"].type is standard_artifacts.ModelEvaluation
    assert node.outputs["blessing"].type is standard_artifacts.ModelBlessing
