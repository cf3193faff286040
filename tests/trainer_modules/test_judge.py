"""The judge learns from labels and serves logits, probabilities and features."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from core.config import InputError
from trainer_modules.judge import train
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import build_model

SMALL = {"channels": 8, "batch_size": 32, "epochs": 6}


def test_learns_a_few_hundred_digits(digits):
    trained = train.train(JudgeConfig(**SMALL), digits, digits)
    assert trained.history.curves["val_accuracy"][-1] > 0.8


def test_too_few_images_for_a_batch_is_a_clear_sentence(digits):
    config = JudgeConfig(batch_size=1024)
    with pytest.raises(InputError, match="256 images, fewer than one batch of 1024"):
        train.train(config, digits, digits)


def test_number_of_classes_comes_from_the_data():
    assert build_model(JudgeConfig(channels=4), 26).output_shape == (None, 26)


def test_run_fn_exports_what_the_evaluator_reads(fn_args, digits, held_out):
    import tensorflow as tf

    args = fn_args("judge", {**SMALL, "epochs": 1})
    train.run_fn(args)
    served = tf.saved_model.load(args.serving_model_dir).signatures
    outputs = served["serving_default"](image=tf.constant(digits.images[:7]))
    assert outputs["logits"].shape == (7, 10)
    assert outputs["features"].shape == (7, 128)
    probabilities = softmax(outputs["logits"].numpy(), axis=1)
    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-5)
    model = keras.models.load_model(
        Path(args.serving_model_dir).parent / "Format-Keras/model.keras"
    )
    np.testing.assert_allclose(
        model.predict(digits.images[:7], verbose=0), outputs["logits"], atol=1e-4
    )
    hidden = keras.Model(model.input, model.get_layer("features").output)
    np.testing.assert_allclose(
        hidden.predict(digits.images[:7], verbose=0), outputs["features"], atol=1e-4
    )
    record = json.loads((Path(args.serving_model_dir).parent / "history.json").read_text())
    # What is watched is the eval split, with its labels.
    logits = model.predict(held_out.images, verbose=0)
    right = logits.argmax(axis=1) == held_out.labels
    assert record["curves"]["val_accuracy"] == pytest.approx([right.mean()], abs=1e-6)
    own = logits[np.arange(len(logits)), held_out.labels]
    loss = (logsumexp(logits, axis=1) - own).mean()
    assert record["curves"]["val_loss"] == pytest.approx([loss], rel=1e-4)
    assert record["trained_layers"][-1] == "judge/logits" and record["seed"] == 1
