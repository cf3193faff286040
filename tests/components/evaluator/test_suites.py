"""What an evaluation measures follows from the table of models, and so does what it depends on."""

import dataclasses
import types

import pytest

from components.evaluator import run
from components.evaluator.run import parts_of
from components.report.topics import TITLES
from core.models import MODELS
from pipeline.fingerprint import ROOT, source_files


def sources(*modules: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in source_files(modules)}


def measurements(model: str) -> list[str]:
    return [f"components.evaluator.parts.{name}" for name in MODELS[model].measurements]


def test_the_evaluator_itself_reaches_no_measurement_of_a_model():
    found = {path for path in sources("components.evaluator.executor") if "/parts/" in path}
    assert found == {
        "components/evaluator/parts/__init__.py",
        "components/evaluator/parts/judge.py",
    }


@pytest.mark.parametrize("model", MODELS)
def test_the_evaluator_of_a_model_depends_on_the_code_of_no_other_model(model):
    found = sources("components.evaluator.executor", *measurements(model))
    others = {name for name in MODELS if any(f"/{name}/model.py" in path for path in found)}
    assert others <= {model}
    # Anomaly detection by class trains small autoencoders as the trainer does.
    assert ("trainer_modules/autoencoder/model.py" in found) == (model == "autoencoder")


@pytest.mark.parametrize("model", MODELS)
def test_the_judge_is_measured_last_and_every_part_has_its_own_name(model, small):
    names = [part.name for part in parts_of(model, small)]
    assert names[-1] == "judge" and len(set(names)) == len(names)


def test_every_part_has_a_topic_that_the_report_knows(small):
    found = {part.name: part.topic for model in MODELS for part in parts_of(model, small)}
    assert set(found.values()) <= TITLES.keys() - {"other"}
    # Their tables once stood in the wrong section.
    given = {"memorisation": "memory", "diversity": "samples", "augmentation": "samples"}
    assert {name: found[name] for name in given} == given


def test_a_model_can_bring_a_measurement_of_its_own_by_its_import_path(small, monkeypatch):
    kind = dataclasses.replace(
        MODELS["gan"], measurements=("latent_walk", "components.evaluator.parts.tsne")
    )
    monkeypatch.setitem(MODELS, "gan", kind)
    assert [part.name for part in parts_of("gan", small)] == ["latent walk", "t-SNE", "judge"]


def test_the_blessing_is_one_empty_file_of_the_name_that_tfx_looks_for(tmp_path):
    for blessed, name in ((True, "BLESSED"), (False, "NOT_BLESSED")):
        folder = tmp_path / name
        run.write_blessing(types.SimpleNamespace(blessed=blessed), folder)
        assert [(path.name, path.stat().st_size) for path in folder.iterdir()] == [(name, 0)]
