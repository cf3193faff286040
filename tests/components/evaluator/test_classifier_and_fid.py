"""The small network behind several figures, and FID with weights from a file."""

import numpy as np
import pytest

from components.evaluator.metrics import fid
from components.evaluator.metrics.classifier import accuracy, fit_classifier, predict
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.metrics.two_sample import classifier_verdicts
from core.config import InputError


def test_the_network_learns_digits_and_the_same_seed_gives_the_same_network(data):
    images, labels = data.train_images[:1000], data.train_labels[:1000]
    first, again, other = (fit_classifier(images, labels, 10, seed) for seed in (1, 1, 2))
    verdicts = [predict(network, data.test_images) for network in (first, again, other)]
    assert verdicts[0].shape == (len(data.test_images), 10)
    assert verdicts[0].sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(verdicts[0], verdicts[1])
    assert not np.array_equal(verdicts[0], verdicts[2])
    assert accuracy(first, data.test_images, data.test_labels).mean() > 0.75


def test_images_of_one_label_are_no_error(data):
    network = fit_classifier(data.train_images[:30], np.full(30, 3), 10, 1)
    assert (predict(network, data.test_images[:20]).argmax(axis=1) == 3).all()


def test_a_fresh_network_tells_noisy_digits_from_real_ones_and_not_real_from_real(data):
    noise = np.random.default_rng(0).normal(0, 0.3, (600, 28, 28, 1))
    noisy = np.clip(data.train_images[:600] + noise, 0, 1).astype(np.float32)
    assert classifier_verdicts(noisy, data.train_images[600:1200], 1).mean() > 0.98
    same = classifier_verdicts(data.train_images[:600], data.train_images[600:1200], 1)
    assert len(same) == 600
    assert same.mean() == pytest.approx(0.5, abs=0.08)


def test_grey_values_that_no_file_holds_do_not_give_an_image_away(data):
    off = np.clip(data.train_images[:600] + 0.001, 0, 1)  # rounds back to the digit itself
    assert classifier_verdicts(off, data.train_images[600:1200], 1).mean() < 0.6


@pytest.mark.extended
def test_features_of_inception_have_its_size_repeat_and_follow_the_file(inception_weights, data):
    images = data.test_images[:6]
    first = fid.pool3_features(fid.load_inception(inception_weights), images)
    again = fid.pool3_features(fid.load_inception(inception_weights), images)
    assert first.shape == (6, fid.FEATURES)
    assert np.isfinite(first).all() and first.min() >= 0.0  # pool3 averages rectified numbers
    assert np.array_equal(first, again)
    assert np.ptp(first, axis=0).max() > 0  # images are told apart
    some = first[:, :256]  # far more than images, as all of them are, and eigenvalues in no time
    assert frechet_distance_of(some, some) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance_of(some, some + 0.1) == pytest.approx(256 * 0.01, rel=1e-4)


def test_images_are_enlarged_as_pillow_does_and_fill_the_range(data):
    from PIL import Image

    images = data.test_images[:3]
    found = fid.enlarge(images)
    assert found.shape == (3, fid.SIZE, fid.SIZE, 3)
    assert -1.0 <= found.min() <= found.max() <= 1.0
    assert np.array_equal(found[..., 0], found[..., 2])
    for image, large in zip(images, found, strict=True):
        grey = Image.fromarray(np.round(255 * image[..., 0]).astype(np.float32), mode="F")
        expected = np.asarray(grey.resize((fid.SIZE, fid.SIZE), Image.Resampling.BILINEAR))
        assert large[..., 0] == pytest.approx(expected / 127.5 - 1.0, abs=1e-4)


def test_weights_that_are_not_there_or_of_another_network_are_one_sentence(tmp_path):
    import keras

    missing = str(tmp_path / "none.weights.h5")
    with pytest.raises(InputError, match="Cannot load Inception-v3 weights from .*none.weights.h5"):
        fid.load_inception(missing)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(missing)
    with pytest.raises(InputError, match="Cannot load"):
        fid.load_inception(missing)
