"""The game, its two trainers, the balance monitor, signatures."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from core.config import DivergedError
from trainer_modules.common.checkpoint import Checkpoint
from trainer_modules.common.history import History
from trainer_modules.common.trained import SILENT, Hooks
from trainer_modules.gan import train
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.model import DiscriminatorTrainer
from trainer_modules.gan.monitor import BalanceMonitor
from trainer_modules.gan.sampler import Sampler, calibrate

SMALL = {"channels": 4, "latent_size": 8, "batch_size": 64, "epochs": 2, "sample_every": 5}


def weights(model):
    return [w.copy() for w in model.get_weights()]


def changed(before, model) -> bool:
    pairs = zip(before, model.get_weights(), strict=True)
    return any(not np.array_equal(w, v) for w, v in pairs)


@pytest.fixture(scope="module")
def game():
    return train.build_gan(GanConfig(**SMALL), steps=10)


def test_each_side_trains_its_own_network_only(game, digits):
    gan = game
    latents = np.random.default_rng(0).standard_normal((64, 8), "float32")
    batch = [digits.images[:64], latents]

    generator, critic = weights(gan.generator), weights(gan.discriminator)
    gan.discriminator_trainer.train_on_batch(batch)
    assert changed(critic, gan.discriminator) and not changed(generator, gan.generator)

    critic = weights(gan.discriminator)
    gan.generator_trainer.train_on_batch(batch)
    assert changed(generator, gan.generator) and not changed(critic, gan.discriminator)


def test_discriminator_alone_learns_to_tell_reals_from_fakes(digits):
    config = GanConfig(**{**SMALL, "gradient_penalty": 0.0})
    gan = train.build_gan(config, steps=60)
    rng = np.random.default_rng(0)
    for _ in range(60):
        latents = rng.standard_normal((64, 8), "float32")
        gan.discriminator_trainer.reset_metrics()
        values = gan.discriminator_trainer.train_on_batch(
            [digits.images[:64], latents], return_dict=True
        )
    assert float(values["accuracy"]) > 0.95
    assert float(values["loss"]) < 0.4


def test_a_generator_step_raises_the_score_of_its_own_fakes(digits):
    """Against a critic that is frozen meanwhile: the sign of its loss."""
    keras.utils.set_random_seed(1)
    gan = train.build_gan(GanConfig(**SMALL), steps=10)
    latents = np.random.default_rng(0).standard_normal((64, 8), "float32")

    def score() -> float:
        return float(np.mean(gan.discriminator(gan.generator(latents))))

    before = score()
    for _ in range(4):
        gan.generator_trainer.train_on_batch([digits.images[:64], latents])
    assert score() > before + 0.01


def test_both_losses_are_those_of_the_pairing(game, digits):
    """Huang et al. 2024, eq. 2, from the critic's own scores; the penalty is at scores alike."""
    latents = np.random.default_rng(0).standard_normal((32, 8), "float32")
    images = digits.images[:32]
    real = game.discriminator.predict(images, verbose=0)
    fake = game.discriminator.predict(game.generator.predict(latents, verbose=0), verbose=0)
    scores = np.array(game.discriminator_trainer([images, latents]))
    np.testing.assert_allclose(scores[:2], [real, fake], atol=1e-5)
    np.testing.assert_allclose(game.generator_trainer([images, latents]), scores[:2], atol=1e-5)
    alike = np.stack([real, fake, real, fake])
    d = game.discriminator_trainer.compute_loss(y_pred=alike)
    g = game.generator_trainer.compute_loss(y_pred=alike[:2])
    assert float(d) == pytest.approx(np.logaddexp(0, fake - real).mean(), rel=1e-5)
    assert float(g) == pytest.approx(np.logaddexp(0, real - fake).mean(), rel=1e-5)


def test_penalty_measures_the_slope_of_the_critic():
    """For a linear critic D(x) = w.x the finite differences estimate |w|^2, of reals and fakes."""
    rng = np.random.default_rng(0)
    image, latent = keras.Input((28, 28, 1)), keras.Input((1,))
    slope = keras.layers.Dense(1, use_bias=False)
    critic = keras.Model(image, slope(keras.layers.Flatten()(image))[:, 0], name="critic")
    black = keras.ops.zeros((1, 28, 28, 1)) * latent[:, :, None, None]
    generator = keras.Model(latent, black, name="generator")
    w = 0.1 * rng.normal(size=(784, 1))
    slope.set_weights([w])
    trainer = DiscriminatorTrainer(generator, critic, GanConfig(gradient_penalty=3.0))
    images = rng.uniform(size=(4000, 28, 28, 1)).astype("float32")
    scores = trainer([images, np.zeros((4000, 1), "float32")])
    pairing = np.logaddexp(0, np.array(scores[1] - scores[0])).mean()
    penalty = float(trainer.compute_loss(y_pred=scores)) - pairing
    assert penalty == pytest.approx(3.0 / 2 * 2 * (w**2).sum(), rel=0.06)


def test_same_seed_gives_the_same_images(digits):
    def run():
        grids = []
        hooks = Hooks(show=lambda name, images: grids.append((name, images)))
        train.train(GanConfig(**SMALL), digits, digits, hooks)
        return grids

    first, second = run(), run()
    assert [name for name, _ in first] == ["step_000005", "step_000008"]
    np.testing.assert_array_equal(first[-1][1], second[-1][1])


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_game_starts_with_fakes_that_differ(digits, seed):
    """Seeds whose generator begins with one image for all latents collapse and stay so."""
    keras.utils.set_random_seed(seed)
    config = GanConfig(seed=seed)
    generator = train.build_gan(config, steps=10).generator
    latents = np.random.default_rng(seed).standard_normal((64, config.latent_size), "float32")
    fakes = generator.predict(latents, verbose=0)
    assert fakes.std(axis=0).mean() > 0.4 * digits.images.std(axis=0).mean()


def test_samples_use_fixed_latents_and_leave_training_untouched(game, digits):
    gan = game
    latents = np.random.default_rng(0).standard_normal((64, 8), "float32")
    gan.generator_trainer.train_on_batch([digits.images[:64], latents])
    before = weights(gan.generator)
    first, second = train.sample_images(gan, latents), train.sample_images(gan, latents)
    np.testing.assert_array_equal(first, second)
    assert not changed(before, gan.generator)


def collapsing(digits, hooks=SILENT):
    """A game whose generator begins blind to its latents and learns too slowly to look at them.

    A generator that saturates would collapse in some games only, depending on rounding.
    """
    settings = {**SMALL, "epochs": 82, "sample_every": 10_000, "generator_learning_rate": 1e-5}
    config = GanConfig(**settings)
    keras.utils.set_random_seed(config.seed)
    gan = train.build_gan(config, len(digits.images) // config.batch_size * config.epochs)
    kernel = gan.generator.get_layer("mlp").kernel
    kernel.assign(np.zeros(kernel.shape))
    history = train.fit(gan, config, digits, hooks)
    return gan, history


@pytest.fixture(scope="module")
def collapsed(digits):
    """The game that was never killed, and its history."""
    return collapsing(digits)


def test_a_collapsed_generator_begins_anew(collapsed):
    gan, history = collapsed
    names = [event["name"] for event in history.events]
    at = names.index("collapsed generator")
    assert names[at + 1] == "restart"
    restart = history.events[at + 1]["step"]
    assert restart == 301 and restart == history.events[at]["step"]
    # Adam has counted the steps since then, and none before it.
    assert int(gan.generator_trainer.optimizer.iterations.numpy()) == history.steps - restart
    assert history.curves["fake_spread"][restart - 2] < 0.05


def test_a_collapse_gives_both_networks_other_weights_and_no_other_state_does(digits):
    """Three hundred steps by their metrics alone, no training in between."""
    config, history = GanConfig(**SMALL), History("gan", "train", seed=1)
    gan = train.build_gan(config, steps=400)
    sides = [gan.discriminator_trainer, gan.generator_trainer]
    balance = train._Balance(config, Checkpoint(None, config, history, sides, [digits]), 400)

    def steps(count: int, spread: float) -> bool:
        """Whether the weights of both are others afterwards."""
        before = [weights(gan.generator), weights(gan.discriminator)]
        for step in range(count):
            history.steps += 1
            metrics = {"discriminator_loss": 0.6 + 1e-3 * (step % 2), "discriminator_accuracy": 0.8}
            balance.on_train_batch_end(step, {**metrics, "fake_spread": spread})
        both = (gan.generator, gan.discriminator)
        return all(changed(old, new) for old, new in zip(before, both, strict=True))

    assert not steps(320, spread=0.9) and history.events == []
    assert steps(1, spread=0.05)
    assert [event["name"] for event in history.events] == ["collapsed generator", "restart"]


def test_a_training_that_began_anew_resumes_to_the_same_weights(digits, collapsed, tmp_path):
    """Killed after the restart and after a checkpoint: the monitor's grace counts from there."""

    class Killed(Exception):
        pass

    def kill(step, _):
        if step >= 320:
            raise Killed

    hooks = Hooks(checkpoint=str(tmp_path / "checkpoint"))
    with pytest.raises(Killed):
        collapsing(digits, dataclasses.replace(hooks, scalars=kill))
    resumed, after = collapsing(digits, hooks)
    whole, history = collapsed
    assert after.events == history.events and len(history.events) >= 2
    for one, other in zip(
        resumed.generator.get_weights(), whole.generator.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_stopped_game_goes_on_with_the_images_and_latents_that_come_next(digits, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def play(hooks: Hooks) -> list[np.ndarray]:
        keras.utils.set_random_seed(1)
        config = GanConfig(**SMALL)
        gan = train.build_gan(config, steps=8)
        train.fit(gan, config, digits, hooks)
        return weights(gan.generator)

    kept = Hooks(checkpoint=str(tmp_path / "checkpoint"))
    with pytest.raises(KeyboardInterrupt):
        play(dataclasses.replace(kept, callbacks=[Stop()]))
    for one, other in zip(play(kept), play(SILENT), strict=True):
        np.testing.assert_array_equal(one, other)


def test_loss_that_is_not_a_number_stops_with_a_sentence(digits):
    gan = train.build_gan(GanConfig(**SMALL), steps=8)
    gan.discriminator.get_layer("score").bias.assign([np.nan])
    with pytest.raises(DivergedError, match="gan diverged at step 1.*lower its learning_rate"):
        train.fit(gan, GanConfig(**SMALL), digits)


def feed(monitor, count, loss, accuracy, spread):
    begun = []
    for i in range(count):
        # Real training is never exactly constant.
        begun += monitor.update(loss + 1e-3 * (i % 2), accuracy, spread)
    return [name for name, _ in begun]


def test_healthy_game_raises_nothing():
    assert feed(BalanceMonitor(), 500, loss=0.6, accuracy=0.7, spread=0.95) == []


def test_dead_discriminator_is_named_once():
    monitor = BalanceMonitor()
    assert feed(monitor, 300, loss=0.692, accuracy=0.5, spread=0.9) == ["dead discriminator"]


def test_fair_game_at_half_accuracy_is_not_called_dead():
    assert feed(BalanceMonitor(), 300, loss=0.8, accuracy=0.5, spread=0.9) == []


def test_generator_that_has_not_started_yet_is_not_called_collapsed():
    monitor = BalanceMonitor(grace=300)
    assert feed(monitor, 250, 0.6, 0.8, 0.05) == []
    assert feed(monitor, 100, 0.6, 0.8, 0.05) == ["collapsed generator"]


def test_collapsed_generator_is_named_and_again_after_recovery():
    monitor = BalanceMonitor(grace=0)
    assert feed(monitor, 150, 0.6, 0.8, 0.05) == ["collapsed generator"]
    assert feed(monitor, 50, 0.6, 0.8, 0.9) == []
    assert feed(monitor, 50, 0.6, 0.8, 0.05) == ["collapsed generator"]


def test_exploding_loss_is_named():
    monitor = BalanceMonitor()
    feed(monitor, 200, 0.6, 0.8, 0.9)
    names = [name for name, _ in monitor.update(60.0, 0.8, 0.9)]
    assert names == ["exploding loss"]


def test_calibrated_scores_are_probabilities():
    """Of scores between 0.3 and 0.4 the promised share is real."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0.4, 0.2, 200_000), rng.normal(0.2, 0.2, 200_000)
    found = calibrate(real, fake)
    assert found.midpoint == pytest.approx(0.3, abs=0.002)
    real, fake = (np.sum((scores > 0.3) & (scores < 0.4)) for scores in (real, fake))
    promised = 1 / (1 + np.exp(-found.slope * (0.35 - found.midpoint)))
    assert real / (real + fake) == pytest.approx(promised, abs=0.01)


@pytest.mark.parametrize("fake", [0.6, 0.5])
def test_a_discriminator_that_cannot_tell_has_no_slope(fake):
    assert calibrate(np.full(9, 0.5), np.full(9, fake)).slope == 0


@pytest.mark.parametrize(("slope", "share"), [(0.0, 0.8), (1.0, 0.704)])
def test_the_sampler_takes_back_what_is_drawn_too_often(slope, share):
    """Four of five fakes are white where it should be half: 0.8^2 + 2 (0.8) (0.2) (0.2) remain."""
    latent, image = keras.Input((1,)), keras.Input((28, 28, 1))
    white = keras.ops.cast(latent < 0.8416, "float32")  # the normal's 80 % quantile
    generator = keras.Model(latent, keras.ops.tile(white[:, :, None, None], (1, 28, 28, 1)))
    ratio = keras.ops.where(image[:, 0, 0, 0] > 0.5, 0.5 / 0.8, 0.5 / 0.2)
    sampler = Sampler(generator, keras.Model(image, keras.ops.log(ratio)), slope)
    drawn = sampler.predict_on_batch(sampler.noise(20_000, seed=1))[:, 0, 0, 0]
    assert drawn.mean() == pytest.approx(share, abs=0.01)
    np.testing.assert_array_equal(
        drawn, sampler.predict_on_batch(sampler.noise(20_000, seed=1))[:, 0, 0, 0]
    )


def test_run_fn_writes_history_grids_and_signatures(fn_args, digits):
    import tensorflow as tf

    args = fn_args("gan", SMALL)
    train.run_fn(args)
    folder = Path(args.serving_model_dir).parent
    record = json.loads((folder / "history.json").read_text())
    curves = record["curves"]
    assert record["steps"] == 8 == len(curves["step"])
    for name in ("discriminator_loss", "generator_loss", "discriminator_accuracy"):
        assert len(curves[name]) == 8 and np.isfinite(curves[name]).all()
    assert (folder / "samples/step_000005.png").exists()
    assert any((folder / "logs").rglob("events.out.tfevents*"))
    assert record["calibration"]["slope"] >= 0

    served = tf.saved_model.load(args.serving_model_dir).signatures
    images = served["generate"](seed=tf.constant(3), count=tf.constant(6))["image"]
    again = served["generate"](seed=tf.constant(3), count=tf.constant(6))["image"]
    assert images.shape == (6, 28, 28, 1) and images.dtype == tf.float32
    np.testing.assert_array_equal(images, again)
    score = served["discriminate"](image=tf.constant(digits.images[:4]))["score"]
    assert score.shape == (4,) and ((score.numpy() >= 0) & (score.numpy() <= 1)).all()
    check_signatures(folder, served, digits)
    png = served["generate_png"](seed=tf.constant(3), count=tf.constant(2))["image_bytes"]
    assert tf.io.decode_png(png[0]).shape == (28, 28, 1)


def check_signatures(folder: Path, served, digits) -> None:
    """Every signature once more in NumPy, with the networks and the calibration as stored."""
    import tensorflow as tf

    generator, critic = (
        keras.models.load_model(folder / f"Format-Keras/{name}.keras", compile=False)
        for name in ("generator", "discriminator")
    )
    found = json.loads((folder / "history.json").read_text())["calibration"]

    def of_critic(images):
        return critic.predict(images, verbose=0)

    latents = np.random.default_rng(2).standard_normal((500, 8), "float32")
    drawn = served["serving_default"](latent=latents[:4])["image"]
    np.testing.assert_allclose(drawn, generator.predict(latents[:4], verbose=0), atol=1e-5)
    # The calibration: linear discriminant of train images and fakes, whichever fakes.
    real, fake = of_critic(digits.images), of_critic(generator.predict(latents, verbose=0))
    gap, variance = real.mean() - fake.mean(), (real.var() + fake.var()) / 2
    assert found["slope"] == pytest.approx(max(gap, 0) / variance, rel=0.1, abs=1e-3)
    assert found["midpoint"] == pytest.approx((real.mean() + fake.mean()) / 2, rel=0.05, abs=1e-3)
    score = served["discriminate"](image=tf.constant(digits.images[:4]))["score"]
    logit = found["slope"] * (real[:4] - found["midpoint"])
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-logit)), atol=1e-4)
    # Two candidates each, of which the first is kept with the probability that the scores give.
    pairs = tf.random.stateless_normal([64, 2, 8], [3, 0]).numpy()
    first, second = (generator.predict(pairs[:, i], verbose=0) for i in range(2))
    chance = 1 / (1 + np.exp(-found["slope"] * (of_critic(first) - of_critic(second))))
    is_first = tf.random.stateless_uniform([64], [3, 1]).numpy() < chance
    assert 0 < is_first.sum() < 64
    expected = np.where(is_first[:, None, None, None], first, second)
    images = served["generate"](seed=tf.constant(3), count=tf.constant(64))["image"]
    np.testing.assert_allclose(images, expected, atol=1e-4)
