"""Corruptions, AUROC by hand, and the discriminator's verdicts."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from components.evaluator.metrics import anomaly
from components.evaluator.metrics.bootstrap import resamples
from components.evaluator.metrics.discriminator import verdicts
from components.evaluator.parts import anomaly as anomaly_part
from components.evaluator.parts import one_class
from components.idx_example_gen.idx import write_idx
from core.config import InputError


def average_precision(normal: np.ndarray, odd: np.ndarray) -> float:
    return float(anomaly.ranking(normal, odd)[1][0])


def test_auroc_by_hand():
    # Pairs (anomaly, normal): 3>1, 3>2, 2>1, 2=2 -> (3 + 1/2) / 4
    assert anomaly.auroc(np.array([1.0, 2.0]), np.array([3.0, 2.0])) == pytest.approx(3.5 / 4)
    assert anomaly.auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert anomaly.auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0
    assert anomaly.auroc(np.ones(5), np.ones(9)) == 0.5


def test_average_precision_by_hand():
    # In order of the score: anomaly, normal, anomaly: precision 1 at recall 1/2, 2/3 at recall 1.
    found = average_precision(np.array([2.0]), np.array([3.0, 1.0]))
    assert found == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert average_precision(np.ones(30), np.ones(10)) == pytest.approx(0.25)  # guessing


@pytest.mark.parametrize("together", [True, False])
def test_replicates_are_the_scores_of_the_resampled_images(together):
    rng = np.random.default_rng(0)
    normal, odd = rng.normal(0, 1, 80), rng.normal(1, 1, 80)
    seeds = (4, 4) if together else (4, 5)
    areas, precisions = anomaly.ranking_replicates(normal, odd, 120, seeds)
    draws = [list(resamples(80, 120, seed)) for seed in seeds]
    assert len(areas) == 120
    for i in (0, 99, 100, 119):
        a, b = normal[draws[0][i]], odd[draws[1][i]]
        assert areas[i] == pytest.approx(anomaly.auroc(a, b))
        assert precisions[i] == pytest.approx(average_precision(a, b))


def test_auroc_of_nan_scores_is_nan():
    assert math.isnan(anomaly.auroc(np.array([1.0, np.nan]), np.ones(3)))


@pytest.mark.parametrize("kind", anomaly.CORRUPTIONS)
def test_corruptions_keep_shape_and_range_change_every_digit_and_repeat(kind, data):
    images = data.test_images[:64]
    found = anomaly.corrupt(images, kind, seed=3)
    assert (found.shape, found.dtype) == (images.shape, np.float32)
    assert 0.0 <= found.min() <= found.max() <= 1.0
    assert np.array_equal(found, anomaly.corrupt(images, kind, seed=3))
    assert np.all(np.abs(found - images).sum(axis=(1, 2, 3)) > 1.0)


def test_broken_strokes_lose_a_band_of_ink_and_keep_the_rest(data):
    images = data.test_images[:64]
    for kind, axis in (("stroke broken vertically", 2), ("stroke broken horizontally", 1)):
        found = anomaly.corrupt(images, kind, seed=3)
        touched = np.any(found != images, axis=(3, 3 - axis))  # [N, 28] columns or rows
        extent = np.any(images > 0, axis=(3, 3 - axis)).sum(axis=1)
        assert np.all(touched.sum(axis=1) <= np.maximum(3, extent / 4 + 1))
        assert touched.any(axis=1).all()
        assert np.all(found <= images)
        left = found.sum(axis=(1, 2, 3)) / images.sum(axis=(1, 2, 3))
        assert left.min() > 0.05  # not even a 1 is wiped out
        assert left.mean() > 0.5


def test_shuffled_patches_keep_every_pixel(data):
    images = data.test_images[:16]
    found = anomaly.corrupt(images, "patches shuffled", seed=3)
    for before, after in zip(images, found, strict=True):
        assert np.array_equal(np.sort(before.ravel()), np.sort(after.ravel()))


def test_rotation_is_by_a_quarter_and_inversion_is_its_own_inverse(data):
    images = data.test_images[:4]
    turned = anomaly.corrupt(images, "rotated by 90 degrees", seed=0)
    assert np.array_equal(np.rot90(turned[0, ..., 0], -1), images[0, ..., 0])
    inverted = anomaly.corrupt(images, "inverted", seed=0)
    assert 1.0 - inverted == pytest.approx(images, abs=1e-6)


def test_other_data_is_read_by_the_name_of_its_directory(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    (tmp_path / "fashion").mkdir()
    write_idx(str(tmp_path / "fashion" / "t10k-images-idx3-ubyte.gz"), pixels)
    write_idx(str(tmp_path / "fashion" / "t10k-labels-idx1-ubyte.gz"), pixels[:, 0, 0])
    found = anomaly_part.read_other_data([str(tmp_path / "fashion")])
    assert list(found) == ["fashion"]
    assert found["fashion"].dtype == np.float32
    assert found["fashion"] == pytest.approx(pixels[..., None] / 255)
    with pytest.raises(InputError, match="two directories fashion"):
        anomaly_part.read_other_data([str(tmp_path / "fashion")] * 2)


def test_other_data_that_is_missing_is_told_with_the_setting():
    with pytest.raises(InputError, match=r"evaluator.anomaly_data cannot be read: .*nowhere"):
        anomaly_part.read_other_data(["/nowhere"])


def test_a_class_alone_is_told_from_others_by_what_was_fitted_on_it(data):
    ones = data.train_images[data.train_labels == 1]
    normal = data.test_labels == 1
    network = functools.partial(one_class.fit_autoencoder, steps=80)
    for fit in (one_class.fit_pca, network):
        score = fit(ones, 8, 1)(data.test_images)
        assert score.shape == (len(normal),)
        assert anomaly.auroc(score[normal], score[~normal]) > 0.95


def test_a_class_without_an_image_is_left_out(data, monkeypatch):
    """Labels with a gap, as those of letters that start at 1 under a schema of their own."""
    monkeypatch.setattr(one_class, "fit_autoencoder", one_class.fit_pca)
    missing = {
        name: np.where(getattr(data, name) == 0, 1, getattr(data, name))
        for name in ("train_labels", "test_labels")
    }
    areas = one_class.one_class_areas(dataclasses.replace(data, **missing), 8, 1)
    assert np.isnan(areas[:, 0]).all() and np.isfinite(areas[:, 1:]).all()


def test_an_unusual_code_and_a_large_error_count_alike():
    codes = np.random.default_rng(1).normal(3.0, 5.0, (4000, 4)) @ np.diag([1.0, 20.0, 0.1, 0.0])

    def code_and_error(x):
        code = codes if len(x) == len(codes) else x[:, :4]
        return code, x[:, 4] if len(x) < len(codes) else np.full(len(x), 0.5)

    usual = one_class._distance(code_and_error, np.zeros((len(codes), 5)))
    center, spread = codes.mean(axis=0), codes.std(axis=0)
    at = np.tile(np.append(center, 0.5), (4, 1))
    at[1, 1] += 2 * spread[1]  # two deviations in one of four numbers: 4 / 4
    at[2, 2] += 2 * spread[2]
    at[3, 4] = 1.0  # twice the usual error
    assert usual(at) == pytest.approx([1.0, 2.0, 2.0, 2.0], rel=0.1)
    assert usual(np.zeros((len(codes), 5))).mean() == pytest.approx(1 + 3 / 4, rel=1e-3)


def test_a_network_of_the_same_seed_gives_the_same_scores(data):
    few = data.train_images[:64]
    first, second = (one_class.fit_autoencoder(few, 4, 7, steps=3)(few) for _ in range(2))
    assert np.array_equal(first, second)


def test_verdicts_count_reals_fakes_and_pairs():
    found = verdicts(np.array([0.9, 0.8, 0.4, 0.6]), np.array([0.1, 0.7]))
    assert found.real == pytest.approx(0.75)
    assert found.fake == pytest.approx(0.5)
    assert found.balanced == pytest.approx(0.625)
    assert found.pairwise == pytest.approx(6 / 8)


def test_a_dead_discriminator_is_at_half_by_balance_and_pairs():
    found = verdicts(np.full(100, 0.5), np.full(50, 0.5))
    assert (found.real, found.fake) == (0.0, 1.0)
    assert (found.balanced, found.pairwise) == (0.5, 0.5)


def test_unequal_numbers_do_not_move_the_balanced_accuracy():
    assert verdicts(np.full(900, 0.9), np.full(10, 0.9)).balanced == 0.5
