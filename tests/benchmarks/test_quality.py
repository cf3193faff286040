"""Ours and the plain models trained for real on a few digits; the table of known figures."""

import json
import os

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks import baselines, quality
from benchmarks.train_models import GRAPH, Work
from components.evaluator.metrics.agreement import agreement

TINY = (
    *("data.max_images=1000", "evaluator.samples=200", "evaluator.batch_size=100"),
    *("evaluator.generate_steps=2", "evaluator.denoising_images=100", "diffusion.global_width=8"),
    *(f"{name}.channels=4" for name in ("judge", "autoencoder", "diffusion", "gan")),
    *(f"{name}.epochs=1" for name in quality._STAGES),
)


def arguments(data, output, *more: str) -> list[str]:
    settings = [part for setting in (*TINY, *more) for part in ("--set", setting)]
    return ["--data", str(data), "--seeds", "1", "--output", str(output), *settings]


@pytest.fixture
def budgets(monkeypatch) -> dict[str, float]:
    """Seconds that each plain model was given; it trains for its first steps alone."""
    given: dict[str, float] = {}

    def shortened(name: str):
        train = getattr(baselines, name)

        def short(*arguments):
            *data, given[name], seed = arguments
            return train(*data, 0.2, seed)

        monkeypatch.setattr(baselines, name, short)

    # The plain models know of the above in this process alone.
    monkeypatch.setattr(quality, "with_all_threads", lambda call, *given: call(*given))
    for name in ("train_dcgan", "train_ddim", "train_denoiser", "train_autoencoder"):
        shortened(name)
    return given


def test_plain_models_train_where_an_operation_has_all_processors(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    assert quality.with_all_threads(os.getpid) != os.getpid()
    assert quality.with_all_threads(os.getenv, "TF_NUM_INTRAOP_THREADS") is None
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "1"


@pytest.mark.extended
def test_one_seed_is_trained_measured_and_kept(small_mnist_dir, tmp_path, capsys, budgets):
    folder = tmp_path / "out"
    assert quality.main(arguments(small_mnist_dir, folder)) == 0
    kept = json.loads((folder / "seed-1" / "figures.json").read_text())
    seconds = {(w["model"], w["name"].partition(",")[0]): w["seconds"] for w in kept["works"]}
    assert seconds["DCGAN", "train"] == seconds["gan", "train"]
    assert seconds["DDIM", "train"] == seconds["diffusion", "train"]
    assert budgets["train_dcgan"] == seconds["gan", "train"]
    assert budgets["train_ddim"] == seconds["diffusion", "train"]
    both = seconds["autoencoder", "train"] + seconds["autoencoder", "finetune"]
    assert budgets["train_autoencoder"] == both == seconds[quality.CAE, "train"]
    assert budgets["train_denoiser"] == seconds["convolutional denoiser", "train"]
    for model, gain in (("autoencoder", "MSE saved"), ("diffusion", "dB gained")):
        [tuned] = [w for w in kept["works"] if (w["model"], w["name"]) == (model, "finetune")]
        name = f"{gain} by fine-tuning"
        assert tuned["figures"][f"{name}, lower end"] < tuned["figures"][name]
    table = (folder / "table.md").read_text().splitlines()
    lines = [line for line in table if line.startswith("| gan")]
    assert len(lines) == 2 and all("DCGAN" in line for line in lines)
    plain = ("DCGAN", "DDIM", "convolutional-denoiser", "convolutional-autoencoder")
    for name in ("gan", "diffusion", *plain):
        assert (folder / "seed-1" / f"{name}.png").is_file()
    with Image.open(folder / "samples-plain.png") as sheet:
        assert sheet.width > 4 * 380  # four grids side by side

    written = (folder / "seed-1" / "figures.json").stat().st_mtime_ns
    assert quality.main(arguments(small_mnist_dir, folder)) == 0  # nothing is trained again
    assert (folder / "seed-1" / "figures.json").stat().st_mtime_ns == written
    capsys.readouterr()
    assert quality.main(arguments(small_mnist_dir, folder, "gan.epochs=2")) == 2
    assert "other settings" in capsys.readouterr().err


def test_the_denoiser_has_the_size_of_the_example():
    assert baselines.build_denoiser().count_params() == 28_353


def test_the_dcgan_has_the_size_of_the_tutorial():
    generator, discriminator = baselines.build_dcgan()
    assert (generator.count_params(), discriminator.count_params()) == (2_330_944, 212_865)


def test_the_autoencoder_has_the_layers_of_dcec():
    encoder, decoder = baselines.build_autoencoder(10)
    # 32 and 64 kernels of 5x5, 128 of 3x3, a code of 10 numbers, and the same back.
    convolutions = 32 * 26 + 64 * (25 * 32 + 1) + 128 * (9 * 64 + 1)
    assert encoder.count_params() == convolutions + 10 * (1152 + 1)
    back = 1152 * 11 + 64 * (9 * 128 + 1) + 32 * (25 * 64 + 1) + 25 * 32 + 1
    assert decoder.count_params() == back and decoder.output_shape == (None, 28, 28, 1)


def test_n2d_finds_groups_that_lie_apart_on_a_map():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(3), 60)
    codes = rng.normal(size=(180, 5)) + 20 * np.eye(3, 5)[classes]
    found = baselines.n2d(codes, 30.0, 3, 2, 1)
    assert len(found) == 2 and all(agreement(one, classes).accuracy == 1 for one in found)


def test_ddim_ends_in_the_image_when_the_noise_is_predicted_rightly():
    image = np.random.default_rng(0).random((3, 32, 32, 1)).astype("float32")

    class Oracle(keras.Model):
        def call(self, inputs, training=False):
            x, variance = inputs
            noise = keras.ops.sqrt(variance)
            return (x - keras.ops.sqrt(1 - variance) * image) / noise

    drawn = baselines.Ddim(Oracle(), 5, mean=0.0, std=1.0)
    found = drawn(np.random.default_rng(1).normal(size=(3, 32, 32, 1)).astype("float32"))
    found = keras.ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, image[:, 2:-2, 2:-2], atol=1e-4)


@pytest.mark.parametrize(("steps", "averaged"), [(5, False), (400, True)])
def test_averaged_weights_are_kept_only_where_they_are_better(steps, averaged):
    # The best weight is 1; steps of 0.3 get near it at once and then swing about it.
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    network.set_weights([np.zeros((1, 1), "float32")])
    optimizer = keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.98)
    weight = network.trainable_variables[0]
    rng = np.random.default_rng(1)
    for _ in range(steps):
        noisy = keras.ops.convert_to_tensor(weight) - 1 - rng.normal(size=(1, 1), scale=0.5)
        optimizer.apply([keras.ops.cast(noisy, "float32")], [weight])
    last = float(network.get_weights()[0][0, 0])
    baselines.keep_better_weights(
        network, optimizer, lambda: abs(float(network.get_weights()[0][0, 0]) - 1)
    )
    found = float(network.get_weights()[0][0, 0])
    assert (found != last) == averaged
    assert abs(found - 1) <= abs(last - 1)


def test_the_table_has_mean_deviation_target_and_seconds():
    def works(distance: float, plain: float, seconds: float) -> list[Work]:
        found = [Work("judge", "train", {"accuracy": 0.99}, 10.0, 1, 1)]
        saved, gained = "MSE saved by fine-tuning", "dB gained by fine-tuning"
        on_graph = {f"K-Means accuracy{GRAPH}": 0.9, f"NMI{GRAPH}": 0.8}
        autoencoder = {"MSE": 0.01, "K-Means accuracy": 0.8, "NMI": 0.7, **on_graph}
        autoencoder |= {saved: 0.002, f"{saved}, lower end": 0.001}
        found.append(Work("autoencoder", "finetune", autoencoder, 20.0, 1, 1))
        drawn = {"FD / floor": distance, "Inception Score": 9.0}
        denoised = {"PSNR in dB": 20.0, "SSIM": 0.9}
        for model in ("diffusion", "gan", "DDIM", "DCGAN"):
            found.append(Work(model, "train", {}, seconds, 1, 1))
            figures = {**drawn, "FD / floor": plain} if model.isupper() else drawn
            found.append(Work(model, "generate, 2 steps", figures, 5.0, 1, 1))
        tuned = {**denoised, gained: 0.3, f"{gained}, lower end": 0.2}
        found.append(Work("diffusion", "finetune", tuned, 30.0, 1, 1))
        found.append(Work(quality.DENOISER, "train", denoised, 130.0, 1, 1))
        cae = {"MSE": plain, "K-Means accuracy": 0.5, "NMI": 0.4, **on_graph}
        found.append(Work(quality.CAE, "train", cae, 20.0, 1, 1))
        found.append(Work(quality.N2D, "train", {**on_graph, f"NMI{GRAPH}": 0.6}, 60.0, 1, 1))
        return found

    titles, *lines = quality.rows([works(4.0, 40.0, 100.0), works(6.0, 50.0, 120.0)], "quick")
    table = {(line[0], line[1]): dict(zip(titles[2:], line[2:], strict=True)) for line in lines}
    diffusion = table["diffusion", "FD / floor"]
    assert diffusion["target"] == "≤ 2" and diffusion["ours"] == "5 ± 1.4"
    assert diffusion["plain"] == "DDIM 45 ± 7.1"
    assert diffusion["seconds, ours"] == "140 + 5 to sample"
    assert diffusion["seconds, plain"] == "110 + 5 to sample"
    assert table["diffusion", "dB gained by fine-tuning, lower end"]["target"] == "≥ 0"
    assert table["diffusion", "dB gained by fine-tuning, lower end"]["ours"] == "0.2 ± 0"
    assert table["diffusion", "PSNR in dB"]["plain"] == "convolutional denoiser 20 ± 0"
    assert table["autoencoder", "MSE"]["plain"] == "convolutional autoencoder 45 ± 7.1"
    assert table["autoencoder", f"NMI{GRAPH}"]["plain"] == "N2D 0.6 ± 0"
    assert table["autoencoder", f"NMI{GRAPH}"]["ours"] == "0.8 ± 0"


def test_no_seed_is_one_sentence(tmp_path, capsys):
    assert quality.main(["--seeds", "0", "--output", str(tmp_path)]) == 2
    assert "at least 1" in capsys.readouterr().err
