"""The forward process in closed form, the samplers, and both trainings."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from trainer_modules.common.trained import Hooks
from trainer_modules.diffusion import sampler, schedule, train
from trainer_modules.diffusion.clusters import (
    cluster_sizes,
    find_clusters,
    nearest_cluster,
    spread_clusters,
)
from trainer_modules.diffusion.config import DiffusionConfig, DiffusionFinetuneConfig
from trainer_modules.diffusion.guidance import LinearDenoiser, build_generator, eta_of, sizes_of
from trainer_modules.diffusion.model import DenoisingTrainer, DiffusionTrainer, build_network
from trainer_modules.diffusion.signatures import signatures

TIMES = np.linspace(0, 1, 21).astype("float32")


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_alpha_bar_falls_from_one_to_almost_nothing():
    a = to_numpy(schedule.alpha_bar(TIMES))
    assert a[0] == pytest.approx(1.0)
    assert a[-1] == pytest.approx(1e-5, rel=0.01)
    assert (np.diff(a) < 0).all()


def test_alpha_bar_is_the_cosine_with_its_signal_to_noise_ratio_shifted():
    cosine = np.cos(0.3 * np.pi / 2) ** 2
    a = float(schedule.alpha_bar(np.float32(0.3)))
    shift = np.log(a / (1 - a)) - np.log(cosine / (1 - cosine))
    assert shift == pytest.approx(2 * np.log(schedule.SHIFT), abs=1e-4)


def test_diffuse_has_the_mean_and_variance_of_the_closed_form():
    rng = np.random.default_rng(0)
    x_0 = np.full((4000, 1, 1, 1), 1.5, "float32")
    eps = rng.standard_normal(x_0.shape).astype("float32")
    t = np.full(4000, 0.4, "float32")
    a = float(schedule.alpha_bar(np.float32(0.4)))
    x_t = to_numpy(schedule.diffuse(x_0, eps, t))
    assert x_t.mean() == pytest.approx(np.sqrt(a) * 1.5, abs=0.04)
    assert x_t.var() == pytest.approx(1 - a, rel=0.06)


def test_velocity_splits_back_into_image_and_noise():
    rng = np.random.default_rng(0)
    x_0, eps = rng.standard_normal((2, len(TIMES), 4, 4, 1)).astype("float32")
    x_t = schedule.diffuse(x_0, eps, TIMES)
    v = schedule.velocity(x_0, eps, TIMES)
    image, noise = schedule.split_velocity(x_t, v, TIMES)
    np.testing.assert_allclose(to_numpy(image), x_0, atol=1e-5)
    np.testing.assert_allclose(to_numpy(noise), eps, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 4.0])
def test_time_of_noise_inverts_the_schedule(sigma):
    t = schedule.time_of_noise(np.array([sigma], "float32"))
    a = float(to_numpy(schedule.alpha_bar(t))[0])
    assert np.sqrt((1 - a) / a) == pytest.approx(sigma, rel=1e-3)


def gaussian_velocity(mean: float, std: float):
    """The exact velocity for data N(mean, std^2 I): the posterior means are linear in x_t."""

    def predict(x_t, t):
        a = keras.ops.reshape(schedule.alpha_bar(t), (-1, 1, 1, 1))
        x_0 = mean + keras.ops.sqrt(a) * std**2 / (a * std**2 + 1 - a) * (
            x_t - keras.ops.sqrt(a) * mean
        )
        eps = (x_t - keras.ops.sqrt(a) * x_0) / keras.ops.sqrt(1 - a)
        return keras.ops.sqrt(a) * eps - keras.ops.sqrt(1 - a) * x_0

    return predict


@pytest.mark.parametrize(("eta", "steps"), [(0.0, 20), (1.0, 200), (3.0, 200)])
def test_both_samplers_reach_a_known_gaussian(eta, steps):
    rng = keras.random.SeedGenerator(3)
    shape = (60, 28, 28, 1)
    drawn = to_numpy(
        sampler.sample(
            gaussian_velocity(0.7, 0.5),
            lambda _: keras.random.normal(shape, seed=rng),
            60,
            steps,
            low=-5.0,
            high=5.0,
            eta=eta,
        )
    )
    assert drawn.mean() == pytest.approx(0.7, abs=0.02)
    assert drawn.std() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(("loud", "equal"), [(range(1, 5), True), (range(5, 11), False)])
def test_noise_is_added_only_where_little_is_left(loud, equal):
    """Of ten steps the first four start above a noise of four deviations."""

    def drawn(scale):
        def noise(k):
            eps = keras.random.normal((4, 28, 28, 1), seed=5)
            inside = keras.ops.logical_and(k >= loud[0], k <= loud[-1])
            return eps * keras.ops.where(inside, scale, 1.0)

        return to_numpy(sampler.sample(gaussian_velocity(0.0, 1.0), noise, 4, 10, -9.0, 9.0, 3.0))

    times = 1 - np.arange(10, dtype="float32") / 10
    bound = float(schedule.time_of_noise(np.float32(4.0)))
    assert [k + 1 for k in range(10) if times[k] > bound] == list(range(1, 5))
    assert np.allclose(drawn(1.0), drawn(0.0), atol=1e-5) == equal


def test_samples_stay_within_the_range_of_pixels():
    drawn = to_numpy(
        sampler.sample(
            lambda x, t: x * 0.1, lambda _: np.ones((2, 28, 28, 1), "float32"), 2, 3, -0.4, 2.8, 3.0
        )
    )
    assert drawn.min() >= -0.4 and drawn.max() <= 2.8


def test_a_few_steps_lower_the_loss(digits):
    config = DiffusionConfig(
        channels=8, global_width=64, batch_size=32, epochs=12, ema_momentum=0.9
    )
    curves = train.train(config, digits, digits).history.curves
    assert curves["loss"][-1] < 0.8  # v has unit variance: predicting nothing scores 1
    assert curves["val_loss"][-1] < curves["val_loss"][0]


@pytest.mark.parametrize("trainer_of", ["diffusion", "denoising"])
@pytest.mark.parametrize(
    ("estimate", "wrong"),  # where the true pixels are 0, 0.4 and 1
    [(-0.3, [0, 1, 1]), (0.2, [1, 1, 1]), (1.3, [1, 1, 0])],
)
def test_only_what_clipping_leaves_wrong_counts_as_error(trainer_of, estimate, wrong):
    mean, std, pixels = 0.13, 0.31, np.array([0.0, 0.4, 1.0], "float32")
    constant = gaussian_velocity((estimate - mean) / std, 0.0)  # its estimate of every pixel

    def network(inputs, training):
        return constant(*inputs[:2])

    if trainer_of == "diffusion":
        trainer = DiffusionTrainer(network, mean, std, np.zeros((1, 784)), DiffusionConfig())
    else:
        trainer = DenoisingTrainer(network, mean, std, DiffusionFinetuneConfig())
    images = np.broadcast_to(pixels[:, None, None, None], (3, 28, 28, 1))
    residual = to_numpy(trainer.call(images))
    assert [int(abs(r).min() > 0) for r in residual] == wrong
    assert [int(abs(r).max() > 0) for r in residual] == wrong
    if trainer_of == "denoising":
        np.testing.assert_allclose(residual[1], (estimate - 0.4) / std, atol=1e-3)


def signal(sigma):
    """alpha_bar of images plus noise of that standard deviation, in NumPy: [B, 1, 1, 1]."""
    return (1 / (1 + np.asarray(sigma, "float64") ** 2))[:, None, None, None]


def noise_at(t):
    """Noise over signal at time t: the cosine schedule with its log-SNR shifted by 2 log 0.4."""
    return np.tan(np.asarray(t, "float64") * np.pi / 2) / 0.4


def listener(told: list):
    """A network that keeps what it is asked, and answers 0."""

    def network(inputs, training):
        told.append([to_numpy(x).astype("float64") for x in inputs])
        return keras.ops.zeros_like(inputs[0])

    return network


def asked(told: list) -> list[np.ndarray]:
    """What the listener was asked, all parts of the batch."""
    return [np.concatenate(parts) for parts in zip(*told, strict=True)]


def test_the_network_is_trained_on_the_velocity_at_times_that_are_dense_in_the_middle():
    mean, std, told = 0.13, 0.31, []
    images = np.random.default_rng(0).uniform(0.2, 0.8, (64, 28, 28, 1)).astype("float32")
    centres = np.zeros((1, 784), "float32")
    trainer = DiffusionTrainer(listener(told), mean, std, centres, DiffusionConfig())
    missed = -to_numpy(trainer.call(images))
    x_t, t, _ = asked(told)
    shares = np.linspace(0, 1, 100_001)
    times = shares + 0.8 * np.sin(2 * np.pi * shares) / (2 * np.pi)
    np.testing.assert_allclose(np.diff(np.interp(np.sort(t), times, shares)), 1 / 64, atol=1e-4)
    a = signal(noise_at(t))
    some = (t > 0.01) & (t < 0.99)  # not where next to nothing is left of image or noise
    x_0 = (np.sqrt(a) * x_t - np.sqrt(1 - a) * missed)[some]
    eps = (np.sqrt(1 - a) * x_t + np.sqrt(a) * missed)[some]
    np.testing.assert_allclose(x_0, ((images - mean) / std)[some], atol=2e-3)
    assert eps.std() == pytest.approx(1, abs=0.02) and eps.mean() == pytest.approx(0, abs=0.02)


def test_fine_tuning_tells_the_network_the_noise_that_it_adds():
    """On grey images, where nothing is clipped, and in the units of each."""
    mean, std, told = 0.13, 0.31, []
    config = DiffusionFinetuneConfig(noise_low=0.02, noise_high=0.1)
    images = np.full((64, 28, 28, 1), 0.5, "float32")
    missed = to_numpy(DenoisingTrainer(listener(told), mean, std, config).call(images))
    x_t, t, cluster = asked(told)
    assert not cluster.any()  # it denoises without a cluster, and is told of none
    sigma = noise_at(t) * std
    assert 0.02 <= sigma.min() < 0.03 and 0.08 < sigma.max() <= 0.1
    a = signal(sigma / std)
    y = x_t / np.sqrt(a) * std + mean
    np.testing.assert_allclose((y - images).std(axis=(1, 2, 3)), sigma, rtol=0.12)
    # The answer 0 stands for x_0 = sqrt(a) x_t.
    np.testing.assert_allclose(missed, np.sqrt(a) * x_t - (images - mean) / std, atol=1e-3)


def test_network_has_no_hidden_state_and_keeps_its_shape():
    network = build_network(DiffusionConfig(channels=8, global_width=64))
    zeros = np.zeros(3, "float32")
    out = network([np.zeros((3, 28, 28, 1), "float32"), zeros, zeros.astype("int32")])
    assert out.shape == (3, 28, 28, 1)
    assert [v.name for v in network.non_trainable_variables] == ["centres", "sizes"]


def with_random_weights(network: keras.Model, scale: float, rng) -> keras.Model:
    network.set_weights([rng.normal(0, scale, w.shape) for w in network.get_weights()])
    sizes = network.get_layer("cluster_code").sizes
    sizes.assign(rng.integers(1, 50, sizes.shape))
    return network


def test_every_signature_is_its_formula():
    """In NumPy: which network denoises and which generates, and in which units noise is told."""
    import tensorflow as tf

    rng, mean, std = np.random.default_rng(0), 0.13, 0.31
    config = DiffusionConfig(channels=4, global_width=8, clusters=3)
    network, denoiser = (with_random_weights(build_network(config), 0.1, rng) for _ in range(2))
    generator = build_generator(network, 0.0, 1.5, rng.uniform(size=(9, 28, 28, 1)), mean, std)
    served = signatures(generator, denoiser, mean, std)

    def call(name: str, **inputs) -> np.ndarray:
        given = {key: tf.constant(value) for key, value in inputs.items()}
        return to_numpy(served[name].function(**given)["image"])

    image = rng.uniform(size=(3, 28, 28, 1)).astype("float32")
    level = np.array([0.1, 0.4, 0.9], "float32")
    a, t = signal(level / std), np.arctan(0.4 * level / std) * 2 / np.pi
    x_t = np.sqrt(a) * (image - mean) / std
    v = to_numpy(denoiser([x_t.astype("float32"), t.astype("float32"), np.zeros(3, "int32")]))
    expected = np.clip((np.sqrt(a) * x_t - np.sqrt(1 - a) * v) * std + mean, 0, 1)
    for name in ("denoise", "serving_default"):
        clean = call(name, image=image, noise_level=level)
        np.testing.assert_allclose(clean, expected, atol=1e-3)

    step = np.array([1, 300, 1000], "int32")
    a = np.maximum(signal(noise_at(np.minimum(step / 1000, 0.9999))), 1e-5)
    eps = tf.random.stateless_normal(image.shape, [5, 0]).numpy()
    x_t = np.sqrt(a) * (image - mean) / std + np.sqrt(1 - a) * eps
    noisy = call("forward", image=image, step=step, seed=5)
    np.testing.assert_allclose(noisy, np.clip(x_t * std + mean, 0, 1), atol=1e-3)

    offset, *order = tf.random.stateless_uniform([6], [7, -1]).numpy()
    sizes = network.get_layer("cluster_code").sizes.numpy()
    places = (np.argsort(order) + offset) / 5
    cluster = tf.constant(1 + np.searchsorted(np.cumsum(sizes) / sizes.sum(), places), "int32")
    x_0 = sampler.sample(
        lambda x_t, t: generator([x_t, t, cluster]),
        lambda k: tf.random.stateless_normal([5, 28, 28, 1], tf.stack([7, k])),
        *(5, 8, -mean / std, (1 - mean) / std),
        eta=1.5,
    )
    expected = np.clip(to_numpy(x_0) * std + mean, 0, 1)
    made = call("generate", seed=7, count=5, steps=8)
    np.testing.assert_allclose(made, expected, atol=1e-3)


@pytest.fixture(scope="module")
def trained(fn_args):
    config = {"channels": 8, "global_width": 64, "epochs": 1, "batch_size": 64, "sample_steps": 2}
    config["eta"] = 1.0
    base = fn_args("base", config)
    train.run_fn(base)
    tuned = fn_args("tuned", {"epochs": 1, "batch_size": 64}, base)
    train.finetune_fn(tuned)
    return base, tuned


def test_train_and_finetune_export_every_signature(trained, digits):
    import tensorflow as tf

    image = tf.constant(digits.images[:3])
    level = tf.constant([0.1, 0.4, 0.9])
    for args in trained:
        served = tf.saved_model.load(args.serving_model_dir).signatures
        clean = served["denoise"](image=image, noise_level=level)["image"]
        assert clean.shape == (3, 28, 28, 1) and clean.dtype == tf.float32
        assert float(tf.reduce_min(clean)) >= 0 and float(tf.reduce_max(clean)) <= 1
        draw = {"seed": tf.constant(7), "count": tf.constant(5), "steps": tf.constant(2)}
        first, again = (served["generate"](**draw)["image"] for _ in range(2))
        assert first.shape == (5, 28, 28, 1)
        np.testing.assert_array_equal(first, again)
        other = served["generate"](**{**draw, "seed": tf.constant(8)})["image"]
        assert np.abs(other - first).max() > 0.01
        step = tf.constant([0, 500, 1000])
        noisy = served["forward"](image=image, step=step, seed=tf.constant(1))["image"]
        np.testing.assert_allclose(noisy[0], image[0], atol=1e-4)
        png = served["generate_png"](**draw)["image_bytes"]
        decoded = tf.io.decode_png(png[0]).numpy() / 255
        np.testing.assert_allclose(decoded, first[0], atol=0.5 / 255 + 1e-6)
    # Fine-tuning must not touch what generates.
    generators = [
        keras.models.load_model(Path(a.serving_model_dir).parent / "Format-Keras/generator.keras")
        for a in trained
    ]
    for before, after in zip(*(g.get_weights() for g in generators), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_fine_tuned_network_denoises_and_the_other_generates(trained, digits):
    import tensorflow as tf

    folders = [Path(args.serving_model_dir).parent / "Format-Keras" for args in trained]
    generators, networks, denoisers = (
        [keras.models.load_model(f / f"{name}.keras", compile=False) for f in folders]
        for name in ("generator", "network", "denoiser")
    )

    def head(network: keras.Model) -> np.ndarray:
        return network.get_layer("head").get_weights()[0]

    for network in (denoisers[0], networks[1]):
        np.testing.assert_array_equal(head(network), head(networks[0]))
    assert np.abs(head(denoisers[1]) - head(denoisers[0])).max() > 1e-4
    draw = {"seed": tf.constant(7), "count": tf.constant(2), "steps": tf.constant(2)}
    noisy = {"image": tf.constant(digits.images[:3]), "noise_level": tf.constant([0.1, 0.4, 0.9])}
    for args, generator, denoiser in zip(trained, generators, denoisers, strict=True):
        served = tf.saved_model.load(args.serving_model_dir).signatures
        expected = signatures(generator, denoiser, digits.pixel_mean, digits.pixel_std)
        for name, inputs in (("generate", draw), ("denoise", noisy)):
            image = expected[name].function(**inputs)["image"]
            np.testing.assert_allclose(served[name](**inputs)["image"], image, atol=1e-3)


def test_guidance_is_away_from_the_best_linear_denoiser_of_the_train_images(trained, digits):
    folder = Path(trained[0].serving_model_dir).parent / "Format-Keras"
    generator = keras.models.load_model(folder / "generator.keras", compile=False)
    assert eta_of(generator) == 1.0
    x = ((digits.images - digits.pixel_mean) / digits.pixel_std).reshape(len(digits.images), -1)
    mean, variances, directions = generator.get_layer("linear").get_weights()
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-5)
    covariance = directions * variances @ directions.T
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False, bias=True), atol=1e-3)


def test_finetuning_trains_the_last_layers_only(trained):
    base, tuned = (Path(a.serving_model_dir).parent for a in trained)
    before = keras.models.load_model(base / "Format-Keras/network.keras")
    after = keras.models.load_model(tuned / "Format-Keras/denoiser.keras")
    changed = {
        layer.name
        for layer, other in zip(before.layers, after.layers, strict=True)
        for w, v in zip(layer.get_weights(), other.get_weights(), strict=True)
        if not np.array_equal(w, v)
    }
    prefixes = DiffusionFinetuneConfig().layers
    assert changed and all(name.startswith(prefixes) for name in changed)
    record = json.loads((tuned / "history.json").read_text())
    assert {name.split("/")[1] for name in record["trained_layers"]} >= changed
    assert record["parameters"]["frozen"] > 0


def test_history_config_and_pictures_are_written(trained):
    base, tuned = (Path(a.serving_model_dir).parent for a in trained)
    record = json.loads((base / "history.json").read_text())
    assert record["steps"] == 4 and record["stage"] == "train"
    assert record["curves"]["val_loss"] and record["final"]["loss"] > 0
    assert json.loads((base / "config.json").read_text())["channels"] == 8
    assert (base / "samples/epoch_001.png").stat().st_size > 1000
    assert (tuned / "samples/denoised.png").exists()
    assert any((base / "logs").rglob("events.out.tfevents*"))


def _linear(digits, count=None):
    linear = LinearDenoiser()
    linear.build()
    linear.fit(digits.images[:count], digits.pixel_mean, digits.pixel_std)
    return linear


def test_linear_denoiser_solves_the_normal_equations(digits):
    linear = _linear(digits)
    x = (digits.images - digits.pixel_mean) / digits.pixel_std
    x = x.reshape(len(x), -1).astype("float64")
    mean, covariance = x.mean(0), np.cov(x, rowvar=False, bias=True)
    sigma = 1.5
    y = x[:5] + sigma * np.random.default_rng(0).normal(size=(5, 784))
    gain = np.linalg.solve(covariance + sigma**2 * np.eye(784), covariance)
    expected = mean + (y - mean) @ gain

    t = schedule.time_of_noise(np.full(5, sigma, "float32"))
    a = to_numpy(schedule.alpha_bar(t))[0]
    x_t = (np.sqrt(a) * y).reshape(5, 28, 28, 1).astype("float32")
    x_0, _ = schedule.split_velocity(x_t, linear(x_t, t), t)
    np.testing.assert_allclose(to_numpy(x_0).reshape(5, 784), expected, atol=2e-3)


def test_guidance_steps_away_from_the_linear_denoiser_in_the_middle(digits):
    rng = np.random.default_rng(0)
    config = DiffusionConfig(channels=8, global_width=64, clusters=4)
    network = with_random_weights(build_network(config), 0.05, rng)
    mean, std = digits.pixel_mean, digits.pixel_std
    generator = build_generator(network, 0.5, 3.0, digits.images, mean, std)
    x_t = rng.normal(size=(4, 28, 28, 1)).astype("float32")
    t = to_numpy(schedule.time_of_noise(np.array([0.6, 5.5, 0.8, 4.5], "float32")))
    given = [x_t, t, np.arange(1, 5, dtype="int32")]
    v, weak = to_numpy(network(given)), to_numpy(_linear(digits)(x_t, t))
    guided = to_numpy(generator(given))
    np.testing.assert_allclose(guided[:2], v[:2], atol=1e-6)
    np.testing.assert_allclose(guided[2:], (v + 0.5 * (v - weak))[2:], atol=1e-4)
    none = build_generator(network, 0.0, 3.0, digits.images, mean, std)
    np.testing.assert_allclose(to_numpy(none(given)), v, atol=1e-6)


def test_each_image_is_in_the_cluster_of_the_nearest_centre_and_equal_seeds_agree(digits):
    centres = find_clusters(digits.images, 12, seed=1)
    sizes = cluster_sizes(digits.images, centres)
    pixels = digits.images.reshape(-1, 784).astype("float64")
    distances = ((pixels[:, None] - centres[None]) ** 2).sum(axis=2)
    found = to_numpy(nearest_cluster(digits.images, centres))
    np.testing.assert_array_equal(found, 1 + distances.argmin(axis=1))
    np.testing.assert_array_equal(sizes, np.bincount(found - 1, minlength=12))
    # K-Means has converged, or nearly: its centres are the means.
    means = np.stack([pixels[found == k + 1].mean(axis=0) for k in range(12)])
    assert np.abs(means - centres).max() < 0.1 < np.abs(centres[0] - centres[1]).max()
    np.testing.assert_array_equal(find_clusters(digits.images, 12, seed=1), centres)


def test_more_clusters_than_images_leave_some_empty(digits):
    centres = find_clusters(digits.images[:5], 8, seed=1)
    sizes = cluster_sizes(digits.images[:5], centres)
    assert centres.shape == (8, 784) and sizes.tolist() == [1] * 5 + [0] * 3
    order = np.linspace(0.1, 0.9, 500, dtype="float32")
    drawn = to_numpy(spread_clusters(order, 0.99, sizes.astype("float32")))
    assert set(drawn.tolist()) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_clusters_are_drawn_in_proportion_to_their_sizes_and_in_random_order(count):
    rng = np.random.default_rng(2)
    sizes = rng.integers(0, 90, 20).astype("float32")
    order, offset = rng.uniform(size=count).astype("float32"), np.float32(0.4)
    drawn = to_numpy(spread_clusters(order, offset, sizes))
    share = count * sizes / sizes.sum()
    assert np.abs(np.bincount(drawn, minlength=21)[1:] - share).max() < 1
    if count > 100:
        assert (np.diff(drawn) < 0).mean() > 0.3  # not sorted


def test_training_gives_the_cluster_of_each_image_but_hides_a_share():
    images = np.random.default_rng(0).uniform(size=(400, 28, 28, 1)).astype("float32")
    centres, told = images[:3].reshape(3, 784), []
    config = DiffusionConfig(unconditional=0.25)
    DiffusionTrainer(listener(told), 0.13, 0.31, centres, config).call(images)
    _, _, cluster = asked(told)
    true = to_numpy(nearest_cluster(images, centres))
    shown = cluster > 0
    np.testing.assert_array_equal(cluster[shown], true[shown])
    assert (~shown).mean() == pytest.approx(0.25, abs=0.07)


def test_the_sizes_of_the_clusters_are_saved_with_the_generator(trained, digits):
    folder = Path(trained[0].serving_model_dir).parent / "Format-Keras"
    generator = keras.models.load_model(folder / "generator.keras", compile=False)
    sizes = to_numpy(sizes_of(generator))
    assert sizes.sum() == len(digits.images)
    centres = find_clusters(digits.images, len(sizes), seed=1)
    np.testing.assert_array_equal(sizes, cluster_sizes(digits.images, centres))


def test_the_cluster_changes_what_is_generated():
    rng = np.random.default_rng(0)
    config = DiffusionConfig(channels=4, global_width=8, clusters=2)
    network = with_random_weights(build_network(config), 0.1, rng)
    generator = build_generator(network, 0.0, 1.0, rng.uniform(size=(9, 28, 28, 1)), 0.13, 0.31)
    model = sampler.Sampler(generator, 2, 0.13, 0.31)
    noise, cluster = model.noise(4, seed=1)
    one, other, none = (to_numpy(model([noise, cluster * 0 + k])) for k in (1, 2, 0))
    assert min(np.abs(one - other).max(), np.abs(one - none).max()) > 0.01


def test_the_network_sees_the_centre_of_its_cluster():
    rng = np.random.default_rng(0)
    network = with_random_weights(
        build_network(DiffusionConfig(channels=4, global_width=8, clusters=2)), 0.1, rng
    )
    known = network.get_layer("cluster_code")
    known.codes.assign(np.ones(known.codes.shape))  # the codes tell nothing
    centres = rng.random((2, 784)).astype("float32")
    known.centres.assign(centres)
    [none, second, first] = to_numpy(known(np.array([0, 2, 1], "int32"))[1])
    assert not none.any()
    np.testing.assert_array_equal(np.stack([first, second]).reshape(2, 784), centres)
    x_t = np.repeat(rng.normal(size=(1, 28, 28, 1)), 3, axis=0).astype("float32")
    drawn = to_numpy(network([x_t, np.full(3, 0.5, "float32"), np.arange(3, dtype="int32")]))
    assert min(np.abs(drawn[i] - drawn[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.01


def test_a_warm_start_keeps_the_clusters_that_its_codes_are_of(digits):
    config = DiffusionConfig(epochs=1, batch_size=32, channels=8, global_width=16, clusters=6)
    known = build_network(config)
    rng = np.random.default_rng(3)
    with_random_weights(known, 0.05, rng)
    centres = rng.random((6, 784)).astype("float32")
    known.get_layer("cluster_code").centres.assign(centres)
    trained = train.train(config, digits, digits, Hooks(initial=lambda name: known))
    codes = trained.networks["network"].get_layer("cluster_code")
    np.testing.assert_array_equal(to_numpy(codes.centres), centres)
    np.testing.assert_array_equal(to_numpy(codes.sizes), cluster_sizes(digits.images, centres))
