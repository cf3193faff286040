"""Strict settings: every mistake is one sentence that names the place."""

import dataclasses

import pytest

from core.config import InputError, from_dict
from trainer_modules.autoencoder.config import AutoencoderConfig, AutoencoderFinetuneConfig
from trainer_modules.diffusion.config import DiffusionConfig, DiffusionFinetuneConfig
from trainer_modules.gan.config import GanConfig
from trainer_modules.judge.config import JudgeConfig

ALL = [
    JudgeConfig,
    AutoencoderConfig,
    AutoencoderFinetuneConfig,
    DiffusionConfig,
    DiffusionFinetuneConfig,
    GanConfig,
]


@pytest.mark.parametrize("cls", ALL)
def test_defaults_survive_a_round_trip(cls):
    config = cls()
    assert from_dict(cls, dataclasses.asdict(config)) == config


def test_unknown_key_names_its_place_and_the_known_ones():
    with pytest.raises(
        InputError,
        match=r"Unknown setting gan\.epoch \(did you mean epochs\?\); valid settings: .*epochs",
    ):
        from_dict(GanConfig, {"epoch": 3}, "gan")


@pytest.mark.parametrize("value", ["3", 3.0, True, None])
def test_wrong_type_is_refused(value):
    with pytest.raises(InputError, match="gan.epochs must be of type int"):
        from_dict(GanConfig, {"epochs": value}, "gan")


def test_whole_number_is_accepted_where_a_float_is_asked():
    assert from_dict(GanConfig, {"gradient_penalty": 2}).gradient_penalty == 2.0


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (JudgeConfig, {"dropout": 1.0}),
        (AutoencoderConfig, {"code_size": 0}),
        (AutoencoderFinetuneConfig, {"layers": []}),
        (DiffusionConfig, {"ema_momentum": 1.0}),
        (DiffusionFinetuneConfig, {"noise_low": 2.0}),
        (GanConfig, {"batch_size": 1}),
    ],
)
def test_value_out_of_range_is_refused(cls, values):
    with pytest.raises(InputError, match=next(iter(values))):
        from_dict(cls, values)
    with pytest.raises(ValueError, match=next(iter(values))):
        dataclasses.replace(cls(), **values)
