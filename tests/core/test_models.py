"""The table of models names what there is."""

import dataclasses
import importlib

import pytest

from components.model_card.words import words_of
from core.models import MODELS, STAGES, load
from pipeline.config import RunConfig
from pipeline.plan import NODES


def test_every_node_is_there_once():
    ids = [stage.node_id for stage in STAGES]
    ids += [
        n for kind in MODELS.values() for n in (kind.evaluator, kind.serving_check, kind.pusher)
    ]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= set(NODES)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.node_id)
def test_a_stage_has_settings_with_a_seed_and_a_function(stage):
    fields = {field.name for field in dataclasses.fields(load(stage.config))}
    assert {"seed", "epochs", "batch_size"} <= fields
    assert isinstance(getattr(RunConfig(), stage.settings), load(stage.config))
    assert callable(load(stage.entry))


@pytest.mark.parametrize("kind", MODELS.values(), ids=lambda kind: kind.name)
def test_a_model_has_measurements_and_words(kind):
    for module in kind.measurement_modules:
        assert callable(importlib.import_module(module).parts)
    assert kind.score in dict(words_of(kind.name).signatures)
