"""Corruptions, AUROC by hand, and the discriminator's verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluator import anomaly
from components.evaluator.discriminator import verdicts


def test_auroc_by_hand():
    # Pairs (anomaly, normal): 3>1, 3>2, 2>1, 2=2 -> (3 + 1/2) / 4
    assert anomaly.auroc(np.array([1.0, 2.0]), np.array([3.0, 2.0])) == pytest.approx(3.5 / 4)
    assert anomaly.auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert anomaly.auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0
    assert anomaly.auroc(np.ones(5), np.ones(9)) == 0.5


def test_auroc_agrees_with_scikit_learn_on_unequal_sets():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    normal, odd = np.round(rng.normal(0, 1, 300), 1), np.round(rng.normal(0.7, 1, 70), 1)
    labels = np.r_[np.zeros(300), np.ones(70)]
    expected = roc_auc_score(labels, np.r_[normal, odd])
    assert anomaly.auroc(normal, odd) == pytest.approx(expected, abs=1e-12)


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
