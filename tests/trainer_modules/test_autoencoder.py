"""Bottleneck, objective, fine-tuning of the final layers, signatures."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from trainer_modules.autoencoder import train
from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.autoencoder.model import (
    AutoencoderTrainer,
    build_decoder,
    build_encoder,
    contrastive_loss,
    pixel_cross_entropy,
    pixel_entropy,
    warp,
)
from trainer_modules.autoencoder.signatures import signatures

SMALL = {"channels": 8, "batch_size": 64, "epochs": 2}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_bottleneck_is_32_wide():
    config = AutoencoderConfig()
    encoder, decoder = build_encoder(config), build_decoder(config)
    assert encoder.output_shape == (None, 32)
    assert decoder.output_shape == (None, 28, 28, 1)


def test_cross_entropy_matches_its_definition(digits):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 28, 28, 1)).astype("float32")
    target = digits.images[:4]
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean((1, 2, 3))
    np.testing.assert_allclose(to_numpy(pixel_cross_entropy(logits, target)), expected, rtol=1e-5)


def test_entropy_is_the_least_cross_entropy(digits):
    target = np.clip(digits.images[:4], 1e-4, 1 - 1e-4)
    perfect = np.log(target / (1 - target))
    floor = to_numpy(pixel_entropy(target))
    np.testing.assert_allclose(to_numpy(pixel_cross_entropy(perfect, target)), floor, atol=1e-5)
    worse = to_numpy(pixel_cross_entropy(perfect + 0.5, target))
    assert (worse > floor).all()


def test_noise_is_added_in_training_only_and_to_a_share_of_the_batch(digits):
    encoder, decoder = (f(AutoencoderConfig(channels=8)) for f in (build_encoder, build_decoder))
    trainer = AutoencoderTrainer(encoder, decoder, noisy_share=0.5, noise_high=0.8, seed=0)
    noisy = to_numpy(trainer._add_noise(digits.images))
    touched = (noisy != digits.images).any((1, 2, 3)).mean()
    assert 0.4 < touched < 0.6
    assert noisy.min() >= 0 and noisy.max() <= 1
    once, twice = (to_numpy(trainer(digits.images[:4], training=False)[0]) for _ in range(2))
    np.testing.assert_array_equal(once, twice)


def test_a_warped_digit_is_the_same_digit_a_bit_elsewhere(digits):
    warped = to_numpy(warp(digits.images, keras.random.SeedGenerator(0)))
    assert warped.shape == digits.images.shape
    assert warped.min() >= 0 and warped.max() <= 1
    assert (warped != digits.images).any((1, 2, 3)).all()
    ink = warped.sum((1, 2, 3)) / digits.images.sum((1, 2, 3))
    assert ink.min() > 0.6 and ink.max() < 1.6  # exp(2 * 0.15) = 1.35 by scale, some off the edge
    # The middle of a centred dot moves by the shift alone: at most two pixels each way.
    dot = np.zeros((200, 28, 28, 1), "float32")
    dot[:, 13:15, 13:15] = 1
    moved = to_numpy(warp(dot, keras.random.SeedGenerator(1)))[..., 0]
    pixels = np.arange(28)
    for axis in (1, 2):
        at = (moved.sum(axis) * pixels).sum(1) / moved.sum((1, 2))
        assert np.abs(at - 13.5).max() < 2.6
        assert at.std() > 0.8


def test_contrastive_loss_matches_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 3))
    unit_a, unit_b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    scores = np.exp(unit_a @ unit_b.T / 0.2)
    own = np.diag(scores)
    expected = -0.5 * (np.log(own / scores.sum(0)) + np.log(own / scores.sum(1)))
    found = to_numpy(contrastive_loss(a.astype("float32"), b.astype("float32")))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    same = np.ones((6, 3), "float32")
    np.testing.assert_allclose(to_numpy(contrastive_loss(same, same)), np.log(6), rtol=1e-5)


def test_the_contrastive_loss_draws_codes_of_warped_copies_together(digits):
    def share_found(weight):
        settings = {**SMALL, "epochs": 20, "contrastive_weight": weight, "cluster_weight": 0.0}
        config = AutoencoderConfig(**settings)
        encoder = train.train(config, digits, digits).networks["encoder"]
        warped = warp(digits.images, keras.random.SeedGenerator(1))
        z, other = (to_numpy(encoder(x)) for x in (digits.images, warped))
        z, other = (c / np.linalg.norm(c, axis=1, keepdims=True) for c in (z, other))
        return np.mean((z @ other.T).argmax(1) == np.arange(len(z)))

    assert share_found(0.02) > share_found(0.0) + 0.1


def test_a_few_steps_lower_the_loss(digits):
    config = AutoencoderConfig(**{**SMALL, "epochs": 20})
    curves = train.train(config, digits, digits).history.curves
    assert curves["val_loss"][-1] < 0.5 * curves["val_loss"][0]


def test_every_signature_is_its_formula(digits):
    from scipy.special import entr, expit

    config = AutoencoderConfig(channels=4)
    encoder, decoder = build_encoder(config), build_decoder(config)
    served, x = signatures(encoder, decoder), digits.images[:5]
    code = to_numpy(encoder(x))
    p = expit(to_numpy(decoder(code)).astype("float64"))
    np.testing.assert_allclose(served["encode"].function(image=x)["code"], code, atol=1e-5)
    np.testing.assert_allclose(served["decode"].function(code=code)["image"], p, atol=1e-5)
    for name in ("serving_default", "denoise"):
        np.testing.assert_allclose(served[name].function(image=x)["image"], p, atol=1e-5)
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log1p(-p)).mean(axis=(1, 2, 3))
    entropy = (entr(x) + entr(1 - x)).mean(axis=(1, 2, 3))
    score = served["anomaly_score"].function(image=x)["anomaly_score"]
    np.testing.assert_allclose(score, cross_entropy - entropy, atol=1e-4)


@pytest.fixture(scope="module")
def trained(fn_args):
    base = fn_args("base", SMALL)
    train.run_fn(base)
    tuned = fn_args("tuned", {"batch_size": 64, "epochs": 1}, base)
    train.finetune_fn(tuned)
    return base, tuned


def test_finetuning_trains_the_final_layers_only(trained):
    base, tuned = (Path(a.serving_model_dir).parent / "Format-Keras" for a in trained)
    for name in ("encoder", "decoder"):
        before = keras.models.load_model(base / f"{name}.keras")
        after = keras.models.load_model(tuned / f"{name}.keras")
        changed = {
            layer.name
            for layer, other in zip(before.layers, after.layers, strict=True)
            for w, v in zip(layer.get_weights(), other.get_weights(), strict=True)
            if not np.array_equal(w, v)
        }
        assert changed == ({"conv14", "head"} if name == "decoder" else set())
    record = json.loads((tuned.parent / "history.json").read_text())
    assert record["trained_layers"] == ["decoder/conv14", "decoder/head"]
    assert record["stage"] == "finetune"


def test_signatures_agree_with_each_other(trained, digits):
    import tensorflow as tf

    served = tf.saved_model.load(trained[1].serving_model_dir).signatures
    image = tf.constant(digits.images[:5])
    drawn = served["serving_default"](image=image)["image"]
    code = served["encode"](image=image)["code"]
    assert code.shape == (5, 32)
    folder = Path(trained[1].serving_model_dir).parent / "Format-Keras"
    stored = keras.models.load_model(folder / "encoder.keras", compile=False)
    np.testing.assert_allclose(code, stored.predict(digits.images[:5], verbose=0), atol=1e-5)
    np.testing.assert_allclose(served["decode"](code=code)["image"], drawn, atol=1e-6)
    np.testing.assert_allclose(served["denoise"](image=image)["image"], drawn, atol=1e-6)
    score = served["anomaly_score"](image=image)["anomaly_score"]
    assert score.shape == (5,) and (score.numpy() > 0).all()
    one = served["serving_default"](image=image[:1])["image"]
    np.testing.assert_allclose(one[0], drawn[0], atol=1e-5)


def test_the_loss_is_the_cross_entropy_plus_the_loss_of_the_codes(digits):
    encoder, decoder = (f(AutoencoderConfig(channels=4)) for f in (build_encoder, build_decoder))
    trainer = AutoencoderTrainer(encoder, decoder, 0.5, 0.8, seed=0)
    rng = np.random.default_rng(0)
    logits, code_loss = rng.normal(size=(4, 28, 28, 1)), rng.uniform(size=4)
    x = digits.images[:4].astype("float64")
    entropy = (np.logaddexp(0, logits) - x * logits).mean()
    given = [part.astype("float32") for part in (logits, code_loss)]
    found = float(trainer.compute_loss(y=digits.images[:4], y_pred=given))
    assert found == pytest.approx(entropy + code_loss.mean(), rel=1e-5)


def test_the_contrastive_loss_is_weighted_and_in_training_only(digits):
    def code_loss(weight, training=True):
        keras.utils.set_random_seed(0)
        networks = [f(AutoencoderConfig(channels=4)) for f in (build_encoder, build_decoder)]
        trainer = AutoencoderTrainer(*networks, 0.5, 0.8, seed=0, contrastive_weight=weight)
        return to_numpy(trainer(digits.images[:8], training=training)[1])

    assert (code_loss(0.3) > 0).all()
    np.testing.assert_allclose(code_loss(0.3), 0.3 * code_loss(1.0), rtol=1e-5)
    assert not code_loss(0.3, training=False).any()


def test_png_signatures_take_and_return_pictures(trained, digits):
    import tensorflow as tf

    served = tf.saved_model.load(trained[1].serving_model_dir).signatures
    pixels = (digits.images[:3] * 255).round().astype("uint8")
    files = tf.stack([tf.io.encode_png(p) for p in pixels])
    png = served["serving_default_png"](image_bytes=files)["image_bytes"]
    image = served["serving_default"](image=tf.constant(digits.images[:3]))["image"]
    shown = np.stack([tf.io.decode_png(p).numpy() for p in png]) / 255
    np.testing.assert_allclose(shown, image, atol=0.5 / 255 + 1e-4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="28 pixels"):
        wrong = tf.io.encode_png(np.zeros((30, 28, 1), "uint8"))
        served["encode_png"](image_bytes=wrong[None])
