import json
from pathlib import Path

import pytest

pytest.importorskip("tfx")
from tfx.types import standard_artifacts

from components.report.component import Executor, Report, ReportSpec
from core.origin import public
from tests.components.report.conftest import evaluation, history


def artifact(kind, uri: Path, **properties):
    made = kind()
    made.uri = str(uri)
    uri.mkdir(parents=True, exist_ok=True)
    for name, value in properties.items():
        if isinstance(value, int):
            made.set_int_custom_property(name, value)
        else:
            made.set_string_custom_property(name, value)
    return made


def write_page(inputs: dict, tmp_path: Path) -> str:
    report = artifact(standard_artifacts.ModelEvaluation, tmp_path / "report")
    config = json.dumps({"profile": "smoke", "data_dir": str(tmp_path / "digits")})
    Executor().Do(
        {name: [found] for name, found in inputs.items()}, {"report": [report]}, {"config": config}
    )
    return (tmp_path / "report" / "index.html").read_text()


def gan(tmp_path: Path, blessed: bool) -> dict:
    """The artifacts of a GAN that was approved and pushed, or was not."""
    model = artifact(standard_artifacts.Model, tmp_path / "model")
    (tmp_path / "model" / "history.json").write_text(json.dumps(history("gan", "train")))
    judged = artifact(standard_artifacts.ModelEvaluation, tmp_path / "evaluation")
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(evaluation("gan", blessed)))
    version = tmp_path / "serving" / "gan" / "18"
    push = {"pushed_destination": str(version), "pushed_version": "18"} if blessed else {}
    return {
        "gan_model": model,
        "gan_evaluation": judged,
        "gan_blessing": artifact(
            standard_artifacts.ModelBlessing, tmp_path / "blessing", blessed=int(blessed), reason=""
        ),
        "gan_pushed_model": artifact(
            standard_artifacts.PushedModel, tmp_path / "pushed", pushed=int(blessed), **push
        ),
    }


def test_a_pushed_model_is_on_the_page_with_its_artifacts(tmp_path):
    inputs = gan(tmp_path, blessed=True)
    page = write_page(inputs, tmp_path)
    assert "Approved and pushed as version 18" in page
    assert all(public(found.uri) in page for found in inputs.values())
    assert str(tmp_path) not in page


def test_a_rejected_model_still_yields_a_page(tmp_path):
    page = write_page(gan(tmp_path, blessed=False), tmp_path)
    assert "Not approved" in page and "Nothing was pushed." in page


def test_an_approved_model_that_was_not_pushed_is_on_the_page_with_the_reason(tmp_path):
    inputs = gan(tmp_path, blessed=True)
    properties = {"pushed": 0, "superseded": 1, "reason": "Clients get version 8 now."}
    inputs["gan_pushed_model"] = artifact(
        standard_artifacts.PushedModel, tmp_path / "refused", **properties
    )
    page = write_page(inputs, tmp_path)
    assert "Approved, but not pushed" in page and "Clients get version 8 now." in page


def test_a_page_of_nothing_says_what_is_missing(tmp_path):
    page = write_page({}, tmp_path)
    assert page.count("The evaluation is missing.") == 3


def test_the_page_says_what_changed_since_the_version_in_serving(tmp_path):
    inputs = gan(tmp_path, blessed=False)
    version = tmp_path / "serving" / "gan" / "17"
    champion = {"version": "17", "path": str(version)}
    metrics = {**evaluation("gan", False), "champion": champion}
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "model" / "config.json").write_text(json.dumps({"epochs": 6}))
    extra = version / "assets.extra"
    extra.mkdir(parents=True)
    lineage = {"settings": {"gan": {"epochs": 4}}, "data": {"digest": "a"}}
    (extra / "lineage.json").write_text(json.dumps(lineage))
    figures = [{"name": "frechet_distance", "value": 9.0, "interval": [8, 10], "better": "lower"}]
    (extra / "metrics.json").write_text(json.dumps({"figures": figures}))
    inputs["statistics"] = artifact(
        standard_artifacts.ExampleStatistics, tmp_path / "statistics", data='{"digest": "b"}'
    )
    page = write_page(inputs, tmp_path)
    assert "What changed since version 17" in page
    assert "<code>gan.epochs</code> 4 &rarr; <b>6</b>" in page
    assert "<code>data.digest</code> a &rarr; <b>b</b>" in page
    assert "9.0 ± 1.0" in page and "4.57 ± 0.25" in page and "apart: better" in page


def test_every_input_is_optional_and_the_output_a_standard_type():
    assert all(parameter.optional for parameter in ReportSpec.INPUTS.values())
    node = Report(config="{}").with_id("report")
    assert node.outputs["report"].type is standard_artifacts.ModelEvaluation
