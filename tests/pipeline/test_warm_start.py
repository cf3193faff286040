"""Where a training with ``warm_start`` begins, and that it has those weights."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from core.artifacts import KERAS_DIR
from core.config import InputError
from core.digits import Digits
from core.files import digests
from pipeline.warm_start import begin
from trainer_modules.autoencoder import train as autoencoder
from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.autoencoder.model import build_decoder, build_encoder
from trainer_modules.common.keras_files import load_network, save_network
from trainer_modules.common.stage import _initial
from trainer_modules.common.trained import Hooks

CONFIG = AutoencoderConfig(epochs=1, batch_size=32, channels=4, learning_rate=1e-6)


def push(serving: Path, version: int, data: str, **lineage) -> Path:
    """A version as a push leaves it, with networks of another seed each."""
    folder = serving / "autoencoder" / str(version)
    extra = folder / "assets.extra"
    extra.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"model")
    keras.utils.set_random_seed(100 + version)
    for name, build in (("encoder", build_encoder), ("decoder", build_decoder)):
        save_network(build(CONFIG), extra, name)
    (extra / "lineage.json").write_text(json.dumps({"data": {"digest": data}, **lineage}))
    return folder


def test_begins_with_the_version_in_serving_if_that_has_other_data(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert begin("serving", "autoencoder", "new") is None
    push(tmp_path / "serving", 1, "old")
    found = begin("serving", "autoencoder", "new")
    assert found["version"] == "1"
    assert found["folder"] == f"serving/autoencoder/1/assets.extra/{KERAS_DIR}"
    assert set(found["digests"]) == {"encoder.keras", "decoder.keras"}
    again = {**found, "version": "0"}
    push(tmp_path / "serving", 2, "new", warm_start=again)
    assert begin("serving", "autoencoder", "new") == again  # what made the version in serving
    assert begin("serving", "autoencoder", "newer")["version"] == "2"


def test_version_of_an_earlier_release_is_a_sentence(tmp_path: Path):
    folder = push(tmp_path, 1, "old")
    for file in (folder / "assets.extra" / KERAS_DIR).iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"no Keras files.*autoencoder.warm_start=false"):
        begin(str(tmp_path), "autoencoder", "new")


def test_training_starts_from_those_weights(tmp_path: Path):
    folder = push(tmp_path, 1, "old") / "assets.extra" / KERAS_DIR
    given = {"version": "1", "folder": str(folder), "digests": digests(folder)}
    rng = np.random.default_rng(0)
    images = rng.random((64, 28, 28, 1), "float32")
    digits = Digits(images, np.arange(64) % 10, 0.5, 0.3, 10)
    trained = autoencoder.train(CONFIG, digits, digits, Hooks(initial=_initial(given)))
    for name, network in trained.networks.items():
        known = load_network(folder, name).get_weights()
        for new, old in zip(network.get_weights(), known, strict=True):
            np.testing.assert_allclose(new, old, atol=1e-3)  # the learning rate is tiny
    fresh = autoencoder.train(CONFIG, digits, digits).networks["encoder"].get_weights()[0]
    assert np.abs(fresh - trained.networks["encoder"].get_weights()[0]).max() > 0.01


def test_other_sizes_and_other_files_are_a_sentence(tmp_path: Path):
    folder = push(tmp_path, 1, "old") / "assets.extra" / KERAS_DIR
    given = {"version": "1", "folder": str(folder), "digests": digests(folder)}
    other = build_encoder(AutoencoderConfig(channels=8))
    with pytest.raises(InputError, match="other layers than the settings ask for"):
        Hooks(initial=_initial(given)).warm_start(encoder=other)
    (folder / "encoder.keras").write_bytes(b"other")
    with pytest.raises(InputError, match="starts from version 1, but encoder.keras"):
        _initial(given)
