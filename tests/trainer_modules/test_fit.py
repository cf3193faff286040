"""Early stop, divergence, clipping and mixed precision, with small nets of every model."""

import argparse
import dataclasses
import importlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from core.config import DivergedError, InputError, from_dict
from core.digits import Digits
from tests.trainer_modules.conftest import write_examples
from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.autoencoder.model import AutoencoderTrainer, build_decoder, build_encoder
from trainer_modules.common import export, stage, steps
from trainer_modules.common.fit import Reporter
from trainer_modules.common.history import History
from trainer_modules.common.precision import recast
from trainer_modules.common.schedule import CLIP_NORM, cosine_schedule
from trainer_modules.common.trained import SILENT
from trainer_modules.diffusion.config import DiffusionConfig, DiffusionFinetuneConfig
from trainer_modules.diffusion.model import DenoisingTrainer, DiffusionTrainer, build_network
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import build_model

SMALL = {
    "judge": {"channels": 4, "batch_size": 64},
    "autoencoder": {"channels": 4, "batch_size": 64},
    "diffusion": {"channels": 4, "global_width": 8, "sample_steps": 1, "batch_size": 64},
    "gan": {"channels": 4, "latent_size": 8, "batch_size": 64},
}


def run(model: str, args, entry: str = "run_fn") -> Path:
    getattr(importlib.import_module(f"trainer_modules.{model}.train"), entry)(args)
    return Path(args.serving_model_dir).parent


@pytest.fixture(scope="module")
def opposite(digits, tmp_path_factory) -> str:
    """Examples of which a model knows less the more it learns of digits."""
    other = dataclasses.replace(digits, images=1 - digits.images, labels=(digits.labels + 1) % 10)
    return write_examples(other, tmp_path_factory.mktemp("opposite"))


@pytest.mark.parametrize("model", ["judge", "autoencoder", "diffusion"])
def test_training_stops_when_the_held_out_loss_falls_no_more(
    model, fn_args, opposite, only_weights
):
    settings = {**SMALL[model], "epochs": 30, "patience": 1, "learning_rate": 0.02}
    args = fn_args(model, settings)
    args.eval_files = [opposite]
    folder = run(model, args)
    record = json.loads((folder / "history.json").read_text())
    losses = record["curves"]["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 2 < 30
    assert record["steps"] == len(losses) * 4
    [event] = record["events"]
    assert event["name"] == "early stop"
    assert f"after epoch {best + 1} of {len(losses)}" in event["message"]
    # What is exported is the state after the best epoch: that of a training which ended there.
    shorter = fn_args(f"{model}_shorter", settings)
    shorter.eval_files = [opposite]
    expected = weights_after(model, shorter, best + 1)
    for weight, other in zip(weights_of(folder), expected, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_curve_has_the_mean_over_the_steps_since_its_last_point():
    """Not over those since the epoch began, as Keras has it: that falls where the next begins."""

    class Given(keras.Model):
        def call(self, x):
            return x

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(y_pred)

    losses = np.arange(45, dtype="float32") ** 2  # of each step of an epoch
    history = History("given", "train", 0)
    reporter = Reporter(history, 45, 2, 0, SILENT, of_epoch=True)
    model = Given()
    model.compile("sgd")
    model.fit(losses[:, None], batch_size=1, epochs=2, shuffle=False, callbacks=[reporter])
    parts = [(0, 20), (20, 40), (0, 15), (15, 35), (35, 45)]
    assert history.curves["step"] == [20, 40, 60, 80, 90]
    expected = [losses[begin:end].mean() for begin, end in parts]
    np.testing.assert_allclose(history.curves["loss"], expected, rtol=1e-4)


TRAININGS = [(model, "run_fn") for model in SMALL]
TRAININGS += [("autoencoder", "finetune_fn"), ("diffusion", "finetune_fn")]
AVERAGED = {"gan": "generator", "diffusion": "network"}  # what has a moving average, and its file
PEAK = 3e-3


@dataclasses.dataclass(frozen=True)
class Ended:
    """A training's folder, and what could be seen in it: weights after each step, optimizer."""

    folder: Path
    weights: list[list[np.ndarray]]
    optimizer: keras.optimizers.Optimizer


def watched(model: str, entry: str, args) -> Ended:
    """Trains; of a GAN the generator is watched."""
    weights, optimizers = [], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weights.append([w.numpy() for w in self.model.trainable_variables])

        def on_train_end(self, logs=None):
            optimizers.append(self.model.optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "board", lambda folder: [Watch()])
        patch.setattr(steps, "STEPS", 1)  # in one call
        patch.setattr(keras.src.trainers.trainer, "model_supports_jit", lambda model: False)  # slow
        return Ended(run(model, args, entry), weights, *optimizers)


@pytest.fixture(scope="module")
def pair_of(fn_args, opposite):
    """``pair_of(model, entry)``: two trainings whose eval images alone differ; fine-tunings start
    from the same model.
    """
    done = {}

    def pair(model: str, entry: str) -> list[Ended]:
        if (model, entry) not in done:
            if entry == "finetune_fn":
                folder = pair(model, "run_fn")[0].folder
                base = argparse.Namespace(serving_model_dir=str(folder / "Format-Serving"))
                settings = {"batch_size": 64, "learning_rate": PEAK}
            else:
                sides = ("generator_", "discriminator_") if model == "gan" else ("",)
                rates = dict.fromkeys((f"{side}learning_rate" for side in sides), PEAK)
                momentum = {"ema_momentum": 0.8} if model in AVERAGED else {}
                base, settings = None, {**SMALL[model], **rates, **momentum}
            first, second = (fn_args(model, {"epochs": 1, **settings}, base) for _ in range(2))
            second.eval_files = [opposite]
            done[model, entry] = [watched(model, entry, args) for args in (first, second)]
        return done[model, entry]

    return pair


@pytest.mark.parametrize(("model", "entry"), TRAININGS)
def test_no_weight_depends_on_the_eval_images(model, entry, pair_of, only_weights):
    """Training, guidance and calibration take the train split; the eval split is watched alone."""
    folders = [ended.folder for ended in pair_of(model, entry)]
    for one, other in zip(*map(weights_of, folders), strict=True):
        np.testing.assert_array_equal(one, other)
    one, other = (json.loads((folder / "history.json").read_text()) for folder in folders)
    assert one["curves"].get("loss") == other["curves"].get("loss")
    assert one.get("calibration") == other.get("calibration")
    if model != "gan":
        assert one["curves"]["val_loss"] != other["curves"]["val_loss"]


@pytest.mark.parametrize(("model", "entry"), TRAININGS)
def test_the_learning_rate_is_at_its_end_when_the_training_is(model, entry, pair_of, only_weights):
    for ended in pair_of(model, entry):
        assert int(ended.optimizer.iterations.numpy()) == 4
        assert float(ended.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def trainer_of(model: str, digits: Digits) -> keras.Model:
    """A trainer of a small network with initial weights."""
    keras.utils.set_random_seed(1)
    if model == "autoencoder":
        config = AutoencoderConfig(channels=4)
        return AutoencoderTrainer(build_encoder(config), build_decoder(config), 0.5, 0.8, seed=1)
    network = build_network(DiffusionConfig(channels=4, global_width=8))
    if model == "diffusion":
        centres = digits.images[:5].reshape(5, -1)
        config = DiffusionConfig()
        return DiffusionTrainer(network, digits.pixel_mean, digits.pixel_std, centres, config)
    settings = DiffusionFinetuneConfig()
    return DenoisingTrainer(network, digits.pixel_mean, digits.pixel_std, settings)


@pytest.mark.parametrize("model", ["autoencoder", "diffusion", "finetune_diffusion"])
def test_steps_lower_the_loss_that_a_trainer_names(model, digits):
    trainer, x = trainer_of(model, digits), digits.images[:128]
    trainer.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    before = float(trainer.test_on_batch(x, x, return_dict=True)["loss"])
    for _ in range(20):
        trainer.train_on_batch(x, x)
    trainer.reset_metrics()
    after = float(trainer.test_on_batch(x, x, return_dict=True)["loss"])
    assert 0 < after < 0.9 * before


def test_the_learning_rate_rises_in_a_line_and_falls_to_zero_by_a_cosine():
    rate, steps = cosine_schedule(PEAK, 200), np.arange(201)
    rise = PEAK * (0.01 + 0.99 * steps / 10)  # a twentieth of the steps
    fall = PEAK * (1 + np.cos(np.pi * (steps - 10) / 190)) / 2
    expected = np.where(steps < 10, rise, fall)
    found = [float(rate(int(step))) for step in steps]
    np.testing.assert_allclose(found, expected, atol=1e-4 * PEAK)


@pytest.mark.parametrize("model", AVERAGED)
def test_the_average_of_the_weights_is_exported_and_not_the_last_ones(model, pair_of, only_weights):
    ended = pair_of(model, "run_fn")[0]
    average = ended.weights[0]
    for weights in ended.weights[1:]:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
    path = ended.folder / f"Format-Keras/{AVERAGED[model]}.keras"
    network = keras.models.load_model(path, compile=False)
    exported = [variable.numpy() for variable in network.trainable_variables]
    for found, expected in zip(exported, average, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    moved = [np.abs(w - e).max() for w, e in zip(ended.weights[-1], exported, strict=True)]
    assert len(ended.weights) == 4 and max(moved) > 1e-3


def weights_of(folder: Path) -> list[np.ndarray]:
    paths = sorted(folder.rglob("*.keras"))
    models = [keras.models.load_model(path, compile=False) for path in paths]
    return [weight for network in models for weight in network.get_weights()]


def weights_after(model: str, args, epochs: int) -> list[np.ndarray]:
    """Of the same training, stopped from outside; all that is exported."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch + 1 == epochs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "board", lambda folder: [Stop()])
        args.custom_config["config"]["patience"] = 0
        return weights_of(run(model, args))


@pytest.mark.parametrize("model", SMALL)
def test_a_loss_that_is_no_number_stops_and_exports_nothing(model, fn_args, digits, tmp_path):
    images = digits.images.copy()
    images[0] = np.nan
    args = fn_args(model, {**SMALL[model], "epochs": 2})
    args.custom_config["checkpoint"] = str(tmp_path / "checkpoint")
    args.train_files = [write_examples(dataclasses.replace(digits, images=images), tmp_path)]
    with pytest.raises(DivergedError, match=rf"^Training of the {model} diverged at step \d+: its"):
        run(model, args)
    folder = Path(args.serving_model_dir).parent
    assert not any(folder.rglob("saved_model.pb")) and not any(folder.rglob("*.keras"))
    assert not (folder / "history.json").exists()
    assert not (tmp_path / "checkpoint").exists()


def test_no_gradient_is_longer_than_the_limit(digits):
    """A step of plain descent moves the weights by learning rate times the clipped norm."""
    model = build_model(JudgeConfig(channels=4, dropout=0.0), 10)
    model.compile(
        optimizer=keras.optimizers.SGD(1.0, global_clipnorm=CLIP_NORM),
        loss=lambda y, logits: 1e6 * keras.ops.mean(keras.ops.square(logits)),
    )
    before = model.get_weights()
    model.train_on_batch(digits.images[:32], digits.labels[:32])
    moved = [w - v for w, v in zip(model.get_weights(), before, strict=True)]
    length = np.sqrt(sum((change**2).sum() for change in moved))
    assert length == pytest.approx(CLIP_NORM, rel=1e-3)


def test_recast_multiplies_in_bfloat16_and_keeps_the_rest(digits):
    network = build_model(JudgeConfig(channels=8), 10)
    assert recast(network, "float32") is network
    mixed = recast(network, "mixed_bfloat16")
    computed_in = {layer.name: layer.compute_dtype for layer in mixed.layers if layer.weights}
    assert computed_in == dict.fromkeys(("conv28", "conv14", "conv7", "features"), "bfloat16") | {
        "logits": "float32"
    }
    assert {w.dtype for w in mixed.weights} == {"float32"}
    exact, rough = (keras.ops.convert_to_numpy(n(digits.images)) for n in (network, mixed))
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.02 * np.abs(exact).max()
    back = recast(mixed, "float32")
    np.testing.assert_allclose(back(digits.images), exact, atol=1e-6)


@pytest.fixture
def limits(monkeypatch) -> dict[int, float | None]:
    """Clipping norm of every optimizer that trains."""
    found = {}
    build = keras.optimizers.Optimizer.build

    def look(self, variables):
        found[id(self)] = self.global_clipnorm
        build(self, variables)

    monkeypatch.setattr(keras.optimizers.Optimizer, "build", look)
    return found


@pytest.mark.parametrize("model", SMALL)
def test_mixed_precision_trains_with_the_limit_and_serves_float32(model, fn_args, limits):
    import tensorflow as tf

    mixed = {"epochs": 1, "precision": "mixed_bfloat16"}
    args = fn_args(model, {**SMALL[model], **mixed})
    optimizers = {"judge": 1, "autoencoder": 2, "diffusion": 1, "gan": 2}[model]
    if model == "autoencoder":  # its fine-tuning too
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export, "write_saved_model", lambda *arguments: None)
            run(model, args)
        args = fn_args(f"{model}_tuned", {"batch_size": 64, **mixed}, args)
        run(model, args, "finetune_fn")
    else:
        run(model, args)
    assert len(limits) == optimizers
    assert set(limits.values()) == {CLIP_NORM}
    folder = Path(args.serving_model_dir).parent
    curves = json.loads((folder / "history.json").read_text())["curves"]
    assert all(np.isfinite(curve).all() for curve in curves.values())
    assert keras.config.dtype_policy().name == "float32"  # the next training in this process
    for path in folder.rglob("*.keras"):
        network = keras.models.load_model(path, compile=False)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
    for signature in tf.saved_model.load(args.serving_model_dir).signatures.values():
        _, inputs = signature.structured_input_signature
        for spec in [*inputs.values(), *signature.structured_outputs.values()]:
            assert spec.dtype in (tf.float32, tf.int32, tf.string), spec


def test_unknown_precision_and_negative_patience_are_refused():
    with pytest.raises(InputError, match="precision must be float32 or mixed_bfloat16, not 'half'"):
        from_dict(JudgeConfig, {"precision": "half"})
    with pytest.raises(InputError, match="patience must be at least 0, not -1"):
        from_dict(JudgeConfig, {"patience": -1})
