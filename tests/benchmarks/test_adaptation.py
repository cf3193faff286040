"""Both models adapted for real on a few digits; the way each training starts; the leads."""

import keras
import numpy as np
import pytest

from benchmarks import adaptation
from benchmarks.adaptation import ALL, LAST, NEW, OLD, Adaptation, Effort, Found
from benchmarks.splits import read_splits
from pipeline.config import load_config
from trainer_modules.autoencoder.model import build_decoder, build_encoder
from trainer_modules.diffusion.model import build_network

TINY = (
    *("autoencoder.channels=4", "autoencoder.epochs=1", "autoencoder.batch_size=32"),
    *("diffusion.channels=4", "diffusion.global_width=8", "diffusion.epochs=1"),
    *("diffusion.clusters=5", "data.max_images=1000", "evaluator.denoising_images=60"),
    *("finetune_autoencoder.batch_size=16", "finetune_diffusion.batch_size=16"),
)
SETTINGS = [part for setting in TINY for part in ("--set", setting)]


@pytest.mark.extended
def test_every_way_stands_in_the_table(small_mnist_dir, tmp_path):
    path, data = tmp_path / "table.md", str(small_mnist_dir)
    options = ["--data", data, "--other", data, "--seconds", "0.3", "--seeds", "2", *SETTINGS]
    tasks = ["--tasks", "another data set", "thick strokes", "--images", "40"]
    assert adaptation.main([*options, *tasks, "--markdown", str(path)]) == 0
    _, _, titles, _, *lines = path.read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == titles.count("|") - 1 for row in rows)
    assert [row[2] for row in rows] == 4 * [OLD, LAST, ALL, NEW]
    assert [row[:2] for row in rows[::4]] == [
        [model, task]
        for model in ("autoencoder", "diffusion")
        for task in ("another data set", "thick strokes")
    ]
    for _, last, every, new in (rows[i : i + 4] for i in range(0, 16, 4)):
        weights = [int(row[3].replace(",", "")) for row in (last, every, new)]
        assert 0 < weights[0] < weights[1] == weights[2]
        assert all(0.1 < float(row[5]) < 1 for row in (last, every, new))  # 0.3 was given
        assert not last[8] and " to " in every[8]


def start(model: str) -> tuple[Adaptation, dict[str, keras.Model]]:
    """A task with no training before: the networks' last biases make every pixel white."""
    config = load_config("quick", None, list(TINY))
    splits = read_splits("data/mnist", 1000)
    task = adaptation._changed("more noise", splits)
    networks = {
        "encoder": build_encoder(config.autoencoder),
        "decoder": build_decoder(config.autoencoder),
        "denoiser": build_network(config.diffusion),
    }
    for name in ("decoder", "denoiser"):
        kernel, bias = networks[name].get_layer("head").get_weights()
        white = 20.0 if name == "decoder" else -20.0
        networks[name].get_layer("head").set_weights([kernel, np.full_like(bias, white)])

    def base(name: str) -> keras.Model:
        found = keras.models.clone_model(networks[name])
        found.set_weights(networks[name].get_weights())
        return found

    return Adaptation(model, config, base, splits.held_out, task), networks


@pytest.mark.parametrize("model", ["autoencoder", "diffusion"])
def test_only_the_new_network_begins_with_new_weights(model):
    adapt, networks = start(model)
    found = adapt.measure(dict.fromkeys((LAST, ALL, NEW), Effort(2, 0.1)), [1])
    unchanged, last, every, new = (found[way].decibels.mean() for way in (OLD, LAST, ALL, NEW))
    assert last == pytest.approx(unchanged, abs=0.5) and every == pytest.approx(unchanged, abs=0.5)
    assert new > unchanged + 2  # grey is nearer to digits than white
    assert found[OLD].effort.steps == found[OLD].weights == 0
    names = adaptation._NETWORKS[model]
    assert found[ALL].weights == sum(
        np.prod(w.shape) for name in names for w in networks[name].trainable_weights
    )
    layers = {"autoencoder": ("conv14", "head"), "diffusion": ("decode", "up", "head")}[model]
    assert found[LAST].weights == sum(
        np.prod(w.shape)
        for layer in networks[names[-1]].layers
        if layer.name.startswith(layers)
        for w in layer.weights
    )


def test_steps_fill_the_seconds():
    clock = adaptation.Clock()
    clock.ends = [(20, 5.0), (40, 15.0), (50, 20.0)]  # the first call compiled
    assert clock.step() == pytest.approx(0.5)


def test_leads_are_in_pairs_and_over_images_of_the_means_over_seeds():
    config = load_config("quick")
    images = np.random.default_rng(0).normal(20, 3, size=100)
    found = {
        OLD: Found(images[None] - 2, 22.0),
        LAST: Found(np.stack([images - 0.5, images + 0.5]), 21.0, 10, Effort(300, 8.04)),
        ALL: Found(np.stack([images, images + 2]), 20.0, 1000, Effort(100, 8.06)),
    }
    old, last, every = adaptation.rows(found, config)
    mean = images.mean()
    assert old == [OLD, "0", "0", "0.0", f"{mean - 2:.2f}", "22.00", "2.00 (2.00 to 2.00)"]
    assert last == [LAST, "10", "300", "8.0", f"{mean:.2f} ± 0.71", "21.00", ""]
    assert every[1:4] == ["1,000", "100", "8.1"] and every[6] == "-1.00 (-1.00 to -1.00)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--seconds", "0"], "--seconds must be above 0"),
        (["--images", "0"], "--images must be at least 1"),
        (["--serving", "nowhere"], "nowhere has no version of autoencoder"),
    ],
)
def test_mistakes_are_one_sentence(options, words, small_mnist_dir, capsys):
    assert adaptation.main(["--data", str(small_mnist_dir), *options]) == 2
    assert words in capsys.readouterr().err
