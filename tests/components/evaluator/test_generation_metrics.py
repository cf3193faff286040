"""Figures of generated images: closed forms, and agreement with other libraries on fixed arrays."""

import math

import numpy as np
import pytest

from components.evaluator.metrics.bootstrap import interval, resamples
from components.evaluator.metrics.frechet import (
    frechet_distance_of,
    frechet_infinity,
    frechet_replicates,
    moment_replicates,
    moments,
)
from components.evaluator.metrics.inception_score import (
    class_histogram,
    histogram_replicates,
    inception_score,
    score_replicates,
)
from components.evaluator.metrics.kid import kid, kid_replicates
from components.evaluator.metrics.memorisation import copying
from components.evaluator.metrics.neighbours import k_nearest
from components.evaluator.metrics.precision_recall import manifolds
from components.evaluator.metrics.two_sample import neighbour_verdicts


@pytest.fixture
def features():
    """Two sets that differ by shift and scale: [300, 12] and [260, 12]."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((300, 12)), 0.2 + 1.1 * rng.standard_normal((260, 12))


def test_moment_replicates_are_the_moments_of_the_resampled_images(features):
    x, _ = features
    found = list(moment_replicates(x + 100, 3, seed=4))
    for (mean, covariance), part in zip(found, resamples(len(x), 3, 4), strict=True):
        expected = moments(x[part] + 100)
        assert mean == pytest.approx(expected[0], rel=1e-12)
        assert covariance == pytest.approx(expected[1], abs=1e-10)


def test_an_interval_leaves_out_the_outer_replicates_and_lies_around_the_value():
    replicates = np.random.default_rng(3).permutation(np.arange(1001.0))  # mean 500
    assert interval(7.0, replicates) == pytest.approx((7 - 475, 7 + 475))


def test_replicates_of_the_distance_repeat_with_the_seed_and_spread_around_it(features):
    x, y = features
    draws = [
        frechet_replicates(moment_replicates(x, 50, seed), moment_replicates(y, 50, seed + 1))
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    value = frechet_distance_of(x, y)
    assert draws[0].mean() > value  # a distance is biased upwards by resampling, hence centring
    assert 0 < draws[0].std() < value


def test_extrapolation_removes_what_only_the_number_of_images_adds():
    rng = np.random.default_rng(1)
    reference = rng.standard_normal((40_000, 20))
    same, shifted = rng.standard_normal((2, 2000, 20))
    shifted[:, 0] += 1.0
    assert frechet_distance_of(same, reference) > 0.05
    assert abs(frechet_infinity(same, reference, seed=1)) < 0.02
    assert frechet_infinity(shifted, reference, seed=1) == pytest.approx(1.0, abs=0.1)
    assert frechet_infinity(same, reference, 1) == frechet_infinity(same, reference, 1)


def test_kid_by_hand_on_two_images_each():
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    # k(x, y) = (x y + 1)^3: within x 1, within y 343; across 1, 1, 27, 64.
    assert kid(x, y) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4, rel=1e-12)


def test_kid_agrees_with_scikit_learns_kernel(features):
    from sklearn.metrics.pairwise import polynomial_kernel

    x, y = features
    xx, yy, xy = (polynomial_kernel(a, b, 3, 1 / 12, 1) for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    own = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    assert kid(x, y) == pytest.approx(own - 2 * xy.mean(), rel=1e-9)


def test_kid_of_two_halves_of_one_sample_is_zero_within_its_spread():
    x = np.random.default_rng(2).standard_normal((1600, 16))  # in more than one block
    value, draws = kid(x[:800], x[800:]), kid_replicates(x[:800], x[800:], 50, seed=3)
    assert abs(value) < 4 * draws.std()
    assert draws.std() < 0.05
    assert kid(x[:800], 1.5 * x[800:]) > 20 * draws.std()


def test_kid_replicates_are_centred_on_kid(features):
    x, y = features
    draws = kid_replicates(x, y, 400, seed=1)
    assert draws.mean() == pytest.approx(kid(x, y), abs=4 * draws.std() / math.sqrt(400))


def test_replicates_of_score_and_classes_are_those_of_the_resampled_images():
    rng = np.random.default_rng(4)
    p = rng.dirichlet(np.full(5, 0.2), 200)
    part = next(resamples(200, 3, 7))
    assert score_replicates(p, 4, 3, 7)[0] == inception_score(p[part], 4)[0]
    assert np.array_equal(histogram_replicates(p, 3, 7)[0], class_histogram(p[part]))


@pytest.mark.parametrize("same", [False, True])
def test_neighbours_agree_with_scikit_learn(features, same):
    from sklearn.neighbors import NearestNeighbors

    x, y = (each.astype(np.float32) for each in features)
    queries = y if same else x
    search = NearestNeighbors(algorithm="brute").fit(y)
    expected, places = search.kneighbors(None if same else queries, n_neighbors=4)
    distances, indices = k_nearest(queries, y, 4, same=same)
    assert distances == pytest.approx(expected, rel=1e-4)
    assert np.mean(indices == places) > 0.99
    exact = np.linalg.norm(queries[:, None].astype(float) - y[indices], axis=2)
    assert distances == pytest.approx(exact, rel=1e-12)


def test_a_copy_is_at_distance_zero_and_too_many_neighbours_are_an_error():
    x = np.random.default_rng(5).random((50, 28, 28, 1)).astype(np.float32)
    distances, indices = k_nearest(x[10:20], x, 1)
    assert np.array_equal(indices[:, 0], np.arange(10, 20))
    assert distances.max() == 0.0
    with pytest.raises(ValueError, match="between 1 and 49"):
        k_nearest(x, x, 50, same=True)


def test_precision_recall_density_and_coverage_agree_with_scikit_learns_neighbours(features):
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    x, y = features[0], features[1] + 0.8
    across = pairwise_distances(x, y)

    def radii(z, k):
        return NearestNeighbors().fit(z).kneighbors(n_neighbors=k)[0][:, -1]

    found = manifolds(x, y)
    assert np.array_equal(found.precise, (across <= radii(y, 3)).any(axis=1))
    assert np.array_equal(found.recalled, (radii(x, 3) >= across.T).any(axis=1))
    inside = across <= radii(y, 5)
    assert found.density == pytest.approx(inside.sum(axis=1) / 5, abs=1e-12)
    assert np.array_equal(found.covered, inside.any(axis=0))
    assert 0.05 < found.precise.mean() < 0.98  # neither is a matter of course here
    assert 0.05 < found.recalled.mean() < 0.98


def test_manifolds_of_the_same_set_and_of_sets_far_apart(features):
    x, _ = features
    same, apart = manifolds(x, x), manifolds(x, x + 100)
    assert same.precise.all() and same.recalled.all() and same.covered.all()
    assert not (apart.precise.any() or apart.recalled.any() or apart.covered.any())
    assert apart.density.sum() == 0.0


def test_one_image_repeated_is_precise_and_recalls_next_to_nothing(features):
    x, _ = features
    found = manifolds(np.repeat(x[:1], 200, axis=0), x)
    assert found.precise.all()
    assert found.recalled.mean() <= 1 / len(x)
    assert found.covered.mean() < 0.2


def test_nearest_neighbour_accuracy_agrees_with_leave_one_out_of_scikit_learn(features):
    from sklearn.neighbors import KNeighborsClassifier

    x, y = features[0][:60], features[1][:60]
    both, kind = np.concatenate([x, y]), np.arange(120) < 60
    expected = [
        KNeighborsClassifier(1).fit(np.delete(both, i, 0), np.delete(kind, i)).predict(both[[i]])[0]
        == kind[i]
        for i in range(120)
    ]
    assert np.array_equal(neighbour_verdicts(x, y), expected)


def test_nearest_neighbour_is_at_half_for_one_source_at_one_apart_and_at_zero_for_copies():
    x = np.random.default_rng(6).standard_normal((800, 8))
    assert neighbour_verdicts(x[:400], x[400:]).mean() == pytest.approx(0.5, abs=0.06)
    assert neighbour_verdicts(x[:400], x[400:] + 50).mean() == 1.0
    assert neighbour_verdicts(x[:400], x[:400]).mean() == 0.0


def test_rank_test_of_one_class_is_mann_whitneys():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(7)
    for ties in (2, 8):  # decimals: with and without ties
        x, y = np.round(rng.normal(4.8, 1, 80), ties), np.round(rng.normal(5, 1, 120), ties)
        found = copying(x, np.zeros(80), y, np.zeros(120))
        expected = mannwhitneyu(x, y, alternative="less", method="asymptotic", use_continuity=False)
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_images_are_compared_within_their_class():
    rng = np.random.default_rng(8)
    held, classes = rng.normal(6, 0.5, 2000), np.zeros(2000, int)
    held[1000:] -= 4  # class 1 has close neighbours by nature
    classes[1000:] = 1
    ones = rng.normal(2, 0.5, 400)  # a generator that draws nothing but class 1
    fair = copying(ones, np.ones(400, int), held, classes)
    assert fair.share < 0.04
    assert fair.p_value > 1e-3
    assert copying(ones, np.zeros(400, int), held, classes).share == 1.0  # as if they were 0s


def test_copies_are_convicted_and_a_class_without_held_out_images_is_left_out():
    rng = np.random.default_rng(9)
    held, classes = rng.normal(6, 0.5, 500), np.zeros(500, int)
    distances = np.concatenate([np.zeros(30), rng.normal(6, 0.5, 70), [3.0]])
    found = copying(distances, np.append(np.zeros(100, int), 7), held, classes)
    assert found.compared.tolist() == [True] * 100 + [False]
    assert 0.30 <= found.share <= 0.35
    assert found.z < -3 and found.p_value < 1e-3
    assert np.isinf(found.ratio[-1])
    assert set(np.argsort(found.ratio)[:30]) == set(range(30))
    assert math.isnan(copying(distances[-1:], np.array([7]), held, classes).share)


def test_outliers_are_beyond_what_one_in_a_hundred_held_out_images_of_the_class_has():
    rng = np.random.default_rng(10)
    classes = np.repeat([0, 1], 500)
    held = np.where(classes == 0, rng.uniform(6, 8, 1000), rng.uniform(1, 2, 1000))
    # Distance 5 is near for a 0 and far for a 1; a class without held-out images is left out.
    generated = np.array([0, 0, 1, 1, 7])
    found = copying(np.array([5.0, 8.1, 1.5, 5.0, 99.0]), generated, held, classes)
    assert found.far.tolist() == [False, True, False, True, False]
    assert found.far_share == 0.5
    limits = [np.quantile(held[classes == k], 0.99) for k in (0, 1)]
    own = copying(held, classes, held, classes).far
    assert own.tolist() == (held > np.array(limits)[classes]).tolist() and own.sum() == 10
    assert math.isnan(copying(np.array([99.0]), np.array([7]), held, classes).far_share)


def test_distances_that_are_all_alike_decide_nothing():
    found = copying(np.ones(10), np.zeros(10), np.ones(20), np.zeros(20))
    assert (found.share, found.far_share, found.z, found.p_value) == (0.0, 0.0, 0.0, 0.5)
