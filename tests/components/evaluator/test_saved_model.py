"""SavedModels as the Evaluator calls them."""

from pathlib import Path

import numpy as np
import pytest

from components.evaluator.saved_model import NotFinite, load_model
from core.config import InputError

FOLDER = "Format-Serving"


def test_batches_give_what_one_call_gives_and_the_last_may_be_smaller(judge_uri, data):
    images = data.test_images[:450]
    small = load_model("judge", Path(judge_uri) / FOLDER, batch_size=200)
    large = load_model("judge", Path(judge_uri) / FOLDER, batch_size=1000)
    a, b = (model.run("serving_default", image=images) for model in (small, large))
    assert a.keys() == b.keys() == {"logits", "probabilities", "features"}
    for key in a:
        assert a[key] == pytest.approx(b[key], abs=1e-4)


def test_generation_repeats_for_a_seed_and_differs_between_seeds_and_batches(gan_uri):
    model = load_model("gan", Path(gan_uri("real")) / FOLDER, batch_size=40)
    first = model.generate(100, seed=1)
    assert first.shape == (100, 28, 28, 1)
    assert np.array_equal(first, model.generate(100, seed=1))
    assert not np.array_equal(first, model.generate(100, seed=2))
    assert not np.array_equal(first[:40], first[40:80])
    assert np.array_equal(first[:80], model.generate(80, seed=1))


def test_an_output_with_nan_is_told_with_signature_and_number(gan_uri):
    model = load_model("gan", Path(gan_uri("broken")) / FOLDER, batch_size=40)
    with pytest.raises(NotFinite, match=r"signature generate gave 7,840 values of 7,840"):
        model.generate(10, seed=1)


def test_a_missing_signature_is_told_with_those_that_are_there(gan_uri):
    model = load_model("gan", Path(gan_uri("real")) / FOLDER, batch_size=40)
    with pytest.raises(InputError, match="no signature encode; it has discriminate, generate"):
        model.run("encode", image=np.zeros((1, 28, 28, 1), np.float32))


def test_a_missing_or_broken_model_is_one_sentence_with_its_place(tmp_path):
    with pytest.raises(InputError, match=f"no SavedModel of gan in {tmp_path}"):
        load_model("gan", tmp_path, 10)
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model("gan", tmp_path, 10)
