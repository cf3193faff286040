"""Two variants trained for real on a few digits, and scored by a judge that was not trained."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from benchmarks import ablation
from trainer_modules.common import export
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.gan.config import GanConfig
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import build_model
from trainer_modules.judge.signatures import signatures

TINY = (
    *("diffusion.channels=4", "diffusion.global_width=8", "diffusion.epochs=1"),
    *("diffusion.batch_size=32", "diffusion.sample_steps=2"),
    *("gan.channels=4", "gan.epochs=1", "gan.batch_size=32"),
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("judge") / "Format-Serving")
    model = build_model(JudgeConfig(channels=4), 10)
    export.write_saved_model(folder, [model], signatures(model))
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory, mnist_dir) -> str:
    import tensorflow as tf

    with gzip.open(mnist_dir / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 128 * 784)[16:], np.uint8)
    images = (pixels.reshape(-1, 784) / 255).astype("float32")
    folder = tmp_path_factory.mktemp("transformed")
    for split, part in (("train", images[:64]), ("eval", images[64:])):
        (folder / f"Split-{split}").mkdir()
        path = folder / f"Split-{split}" / "part-0.gz"
        with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP")) as writer:
            for image in part:
                writer.write(_example(image, images.mean(), images.std()))
    return str(folder)


def _example(image, mean, std) -> bytes:
    import tensorflow as tf

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def whole(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {"image": floats(image), "pixel_mean": floats([mean]), "pixel_std": floats([std])}
    feature |= {"label": whole(0), "num_classes": whole(10)}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def test_variants_are_trained_and_stand_in_the_table(examples, judge, capsys):
    arguments = ["--examples", examples, "--judge", judge, "--samples", "40"]
    arguments += [part for setting in TINY for part in ("--set", setting)]
    names = ["diffusion", "diffusion, narrow channels", "gan", "gan, no penalty"]
    assert ablation.main([*arguments, "--variants", *names]) == 0
    rows = [row.split("  ")[0].strip() for row in capsys.readouterr().out.splitlines()]
    assert rows.count("diffusion") == 3  # one line for each sampler
    assert [rows.count(name) for name in names[1:]] == [1, 1, 1]


def test_every_variant_is_a_configuration_and_differs_from_the_default():
    for model, kind in (("diffusion", DiffusionConfig), ("gan", GanConfig)):
        variants = [one for one in ablation.VARIANTS.values() if one.model == model]
        configs = [kind(**one.settings) for one in variants]
        assert len(set(configs)) == len(configs) and configs[0] == kind()


def test_a_judge_that_is_not_there_is_one_sentence(examples, tmp_path, capsys):
    assert ablation.main(["--examples", examples, "--judge", str(tmp_path)]) == 2
    assert "There is no SavedModel of judge" in capsys.readouterr().err
