"""All models trained and drawn from on JAX, in a process in which there is no TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import train_gpu
from benchmarks.splits import read_splits
from benchmarks.train_models import Work
from benchmarks.train_speed import Speed
from pipeline.config import load_config

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TENSORFLOW = """
import sys

class Missing:
    names = {"tensorflow", "tfx", "tensorflow_transform", "tensorflow_metadata", "tf_keras",
             "apache_beam", "ml_metadata", "tfx_bsl"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Missing())
try:
    import tensorflow
except ImportError:
    from benchmarks.train_gpu import main
    status = main(sys.argv[1:])
    assert not Missing.names & set(sys.modules)
    sys.exit(status)
"""
TINY = [
    *("diffusion.global_width=8", "evaluator.generate_steps=3", "evaluator.samples=200"),
    *("evaluator.batch_size=100", "evaluator.denoising_images=100", "data.max_images=1000"),
    "autoencoder.batch_size=16",  # more steps: fewer leave every image the same grey
    *(f"{name}.channels=4" for name in ("judge", "autoencoder", "diffusion", "gan")),
    *(
        f"{name}.epochs=1"
        for name in ("judge", "autoencoder", "diffusion", "gan")
        + ("finetune_autoencoder", "finetune_diffusion")
    ),
]


@pytest.fixture(scope="module")
def output(small_mnist_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "out"
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "--data", str(small_mnist_dir)]
    command += [part for setting in TINY for part in ("--set", setting)]
    # Compilation is most of the time, and what is computed stays the same without its finish.
    variables = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [*command, "--output", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.extended
def test_every_model_is_trained_and_drawn_from_without_tensorflow(output):
    caption, _, _, _, *lines = (output / "table.md").read_text().splitlines()
    assert "on jax" in caption
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [(line[0], line[1].split(",")[0]) for line in cells] == [
        ("judge", "train"),
        ("autoencoder", "train"),
        ("autoencoder", "finetune"),
        ("diffusion", "train"),
        ("diffusion", "generate"),
        ("diffusion", "finetune"),
        ("gan", "train"),
        ("gan", "generate"),
    ]
    assert all(float(line[4]) > 0 for line in cells)
    figures = [
        {name: float(value) for name, _, value in (f.rpartition(" ") for f in line[2].split("; "))}
        for line in cells
    ]
    assert 0.1 <= figures[0]["accuracy"] <= 1
    assert figures[2]["MSE"] < figures[1]["MSE"] < 0.3  # fine-tuning trains on from what there is
    assert all(1 <= figures[i]["Inception Score"] <= 10 for i in (4, 7))
    assert figures[5]["PSNR in dB"] > figures[3]["PSNR in dB"]


@pytest.mark.extended
@pytest.mark.parametrize(
    "name", ["autoencoder-train", "autoencoder-finetune", "diffusion", "denoised", "noisy", "gan"]
)
def test_pictures_are_sheets_of_64_images(output, name):
    pixels = np.asarray(Image.open(output / f"{name}.png"))
    assert pixels.shape[:2] == (8 * 28 * 2, 8 * 28 * 2)
    assert pixels.std() > 1


def test_a_limit_in_seconds_takes_epochs_away(small_mnist_dir, monkeypatch):
    splits = read_splits(str(small_mnist_dir))
    images = len(splits.train.images)
    speed = Speed("any", "train step", 64, 1, images_per_second=images / 10)  # 10 s an epoch
    monkeypatch.setattr(train_gpu, "measure", lambda *_: [speed])
    config = load_config("full", str(small_mnist_dir))
    for seconds, epochs, tuned in ((35, 3, 3), (45, 4, 4), (1, 1, 1), (75, 7, 5)):
        found = train_gpu.limited(config, splits, seconds)
        assert found.diffusion.epochs == found.gan.epochs == epochs
        assert found.finetune_diffusion.epochs == tuned
    assert train_gpu.limited(config, splits, 1e6) == config


def test_share_is_of_the_matrix_product():
    work = Work("gan", "train", {}, seconds=4.0, images=2000, flops=10_000_000)
    assert train_gpu.row(work, peak=100.0)[3:] == ["4.0", "500", "5%"]


def test_missing_data_is_one_sentence(tmp_path, capsys):
    assert train_gpu.main(["--data", str(tmp_path / "none"), "--output", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
