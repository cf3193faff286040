"""Closed-form cases of the Fréchet distance, the Inception Score and the class histogram."""

import math

import numpy as np
import pytest

from components.evaluator.metrics.frechet import frechet_distance, frechet_distance_of, moments
from components.evaluator.metrics.inception_score import (
    class_histogram,
    inception_score,
    missing_modes,
    total_variation,
)


def _covariance(rng, size, rank=None):
    x = rng.standard_normal((size, rank or size + 3))
    return x @ x.T / x.shape[1]


@pytest.mark.parametrize(("m1", "s1", "m2", "s2"), [(0, 1, 0, 1), (1, 2, -3, 0.5), (0, 0, 2, 3)])
def test_distance_of_one_dimensional_gaussians(m1, s1, m2, s2):
    found = frechet_distance(*(np.array(x, float) for x in ([m1], [[s1**2]], [m2], [[s2**2]])))
    assert found == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-12)


def test_distance_with_commuting_covariances_is_that_of_their_deviations():
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((12, 12)))
    a, b = rng.uniform(0.0, 4.0, (2, 12))
    mean = rng.standard_normal(12)
    found = frechet_distance(mean, axes * a**2 @ axes.T, 0 * mean, axes * b**2 @ axes.T)
    assert found == pytest.approx(mean @ mean + np.sum((a - b) ** 2), rel=1e-10)


def test_distance_to_itself_is_zero_even_where_the_covariance_is_singular():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((50, 128))  # rank 49 of 128
    assert frechet_distance_of(features, features) == pytest.approx(0.0, abs=1e-9)


def test_distance_agrees_with_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(2)
    a, b = _covariance(rng, 20), _covariance(rng, 20)
    mean = rng.standard_normal(20)
    expected = mean @ mean + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(mean, a, np.zeros(20), b) == pytest.approx(expected, rel=1e-9)


def test_distance_is_symmetric_and_does_not_change_under_rotation_and_shift():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((200, 16)), 2 + 0.5 * rng.standard_normal((300, 16))
    rotation, _ = np.linalg.qr(rng.standard_normal((16, 16)))
    plain = frechet_distance_of(x, y)
    assert frechet_distance_of(y, x) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance_of(x @ rotation + 5, y @ rotation + 5) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance_of(3 * x, 3 * y) == pytest.approx(9 * plain, rel=1e-9)


def test_distance_of_nan_is_nan_and_of_one_image_an_error():
    features = np.ones((4, 3))
    assert math.isnan(frechet_distance_of(features * np.nan, features))
    with pytest.raises(ValueError, match="N >= 2"):
        moments(features[:1])


def test_uniform_verdicts_score_one_and_balanced_sure_ones_the_number_of_classes():
    uniform, sure = np.full((1000, 10), 0.1), np.tile(np.eye(10), (100, 1))
    assert inception_score(uniform, 10) == pytest.approx((1.0, 0.0), abs=1e-12)
    assert inception_score(sure, 10) == pytest.approx((10.0, 0.0), abs=1e-9)


def test_one_class_scores_one_and_two_sure_classes_two():
    assert inception_score(np.eye(10)[np.zeros(100, int)], 5)[0] == pytest.approx(1.0)
    assert inception_score(np.eye(10)[np.arange(100) % 2], 5)[0] == pytest.approx(2.0)


def test_score_is_the_mean_over_consecutive_splits():
    halves = np.concatenate([np.eye(4)[np.zeros(50, int)], np.tile(np.eye(4), (13, 1))[:50]])
    low, high = 1.0, inception_score(halves[50:], 1)[0]
    mean, deviation = inception_score(halves, 2)
    assert mean == pytest.approx((low + high) / 2)
    assert deviation == pytest.approx((high - low) / 2)


def test_few_images_are_not_split_below_ten_each():
    verdicts = np.tile(np.eye(5), (5, 1))
    assert inception_score(verdicts, 10) == pytest.approx((5.0, 0.0), abs=0.2)


def test_nan_verdicts_score_nan():
    assert math.isnan(inception_score(np.full((100, 3), np.nan), 2)[0])


def test_class_histogram_and_total_variation():
    p = class_histogram(np.eye(4)[[0, 0, 1, 2]])
    assert p.tolist() == [0.5, 0.25, 0.25, 0.0]
    assert total_variation(p, p) == 0.0
    assert total_variation(p, np.array([0.0, 0.25, 0.25, 0.5])) == pytest.approx(0.5)
    assert total_variation(np.array([1.0, 0]), np.array([0, 1.0])) == 1.0


def test_missing_modes_are_those_below_a_tenth_of_their_real_share():
    real = np.array([0.4, 0.4, 0.2, 0.0])
    assert missing_modes(np.array([0.5, 0.46, 0.04, 0.0]), real) == 0
    assert missing_modes(np.array([0.97, 0.03, 0.0, 0.0]), real) == 2
