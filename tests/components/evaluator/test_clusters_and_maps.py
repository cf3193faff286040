"""K-Means, its agreement with classes, and the t-SNE map."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator import embedding
from components.evaluator.clustering import agreement, kmeans, nearest_to_centres


def _blobs(count=40, classes=4, dimensions=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    centres = 20 * rng.standard_normal((classes, dimensions))
    return centres[labels] + rng.standard_normal((len(labels), dimensions)), labels


@pytest.mark.parametrize("seed", range(3))
def test_agreement_does_not_depend_on_the_names_of_the_clusters(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 10, 500)
    names = rng.permutation(10)
    found = agreement(names[classes], classes)
    assert (found.accuracy, found.nmi, found.ari) == pytest.approx((1.0, 1.0, 1.0))
    assert found.classes[names].tolist() == list(range(10))
    assert found.purity.tolist() == [1.0] * 10


def test_accuracy_counts_the_best_matching():
    # Greedy matching would give cluster 0 class 0 (3) and leave 0 for cluster 1; the best gives 5.
    clusters = np.array([0] * 5 + [1] * 3)
    classes = np.array([0, 0, 0, 1, 1, 0, 0, 0])
    assert agreement(clusters, classes).accuracy == pytest.approx(5 / 8)


def test_more_clusters_than_classes_leave_some_without_a_class():
    found = agreement(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]))
    assert found.accuracy == pytest.approx(3 / 4)
    assert sorted(found.classes.tolist()) == [-1, 0, 1]


def test_random_clusters_agree_by_chance_only():
    rng = np.random.default_rng(0)
    found = agreement(rng.integers(0, 10, 5000), rng.integers(0, 10, 5000))
    assert found.accuracy < 0.13
    assert found.nmi < 0.01
    assert abs(found.ari) < 0.01


def test_kmeans_finds_separated_blobs_and_is_repeatable():
    points, labels = _blobs()
    first, second = (kmeans(points, 4, 3, seed=5) for _ in range(2))
    assert agreement(first.labels, labels).accuracy == 1.0
    assert np.array_equal(first.labels, second.labels)
    assert first.inertia == second.inertia


def test_nearest_to_centres_are_members_in_order_of_distance():
    points, _ = _blobs()
    found = kmeans(points, 4, 3, seed=5)
    for k, members in enumerate(nearest_to_centres(points, found, 7)):
        distance = np.linalg.norm(points[members] - found.centres[k], axis=1)
        others = np.linalg.norm(points[found.labels == k] - found.centres[k], axis=1)
        assert len(members) == 7
        assert set(found.labels[members]) == {k}
        assert np.allclose(distance, np.sort(others)[:7])


def test_map_keeps_blobs_apart_is_repeatable_and_reports_progress():
    points, labels = _blobs()
    told = []
    first = embedding.tsne(points, 15, 3, lambda step, total: told.append((step, total)))
    second = embedding.tsne(points, 15, 3)
    assert first.shape == (160, 2)
    assert np.array_equal(first, second)
    assert embedding.knn_accuracy(first, labels) == 1.0
    assert embedding.trustworthiness(points, first) > 0.9
    assert told[-1] == (750, 750)
    assert [step for step, _ in told] == sorted(step for step, _ in told)


def test_trustworthiness_is_one_for_the_same_points_and_about_half_for_random_ones():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((300, 2))
    assert embedding.trustworthiness(points, 3 * points) == pytest.approx(1.0)
    assert embedding.trustworthiness(points, rng.standard_normal((300, 2))) == pytest.approx(
        0.5, abs=0.05
    )


def test_knn_accuracy_leaves_the_point_itself_out():
    # Two pairs far apart, each of two classes: with itself counted, k = 1 would score 1.
    points = np.array([[0.0, 0], [0, 1], [50, 0], [50, 1]])
    assert embedding.knn_accuracy(points, np.array([0, 1, 0, 1]), neighbours=1) == 0.0
    assert embedding.knn_accuracy(points, np.array([0, 0, 1, 1]), neighbours=1) == 1.0
