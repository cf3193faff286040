"""K-Means, its agreement with classes, and the t-SNE map."""

import io

import numpy as np
import pytest
from PIL import Image

from components.evaluator.metrics import embedding
from components.evaluator.metrics.agreement import (
    accuracy,
    agreement,
    agreement_replicates,
    contingency,
    mutual_information,
    rand_index,
)
from components.evaluator.metrics.bootstrap import resamples
from components.evaluator.metrics.clustering import kmeans_runs, nearest_to_centres
from components.evaluator.parts.tsne import map_document, sprite
from core.clusters import embed_graph, kmeans, neighbour_graph


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
    assert found.majority[names].tolist() == list(range(10))
    assert found.purity.tolist() == [1.0] * 10


def test_accuracy_counts_the_best_matching():
    # Greedy matching would give cluster 0 class 0 (3) and leave 0 for cluster 1; the best gives 5.
    clusters = np.array([0] * 5 + [1] * 3)
    classes = np.array([0, 0, 0, 1, 1, 0, 0, 0])
    assert agreement(clusters, classes).accuracy == pytest.approx(5 / 8)


def test_more_clusters_than_classes_leave_some_without_a_class():
    found = agreement(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]))
    assert found.accuracy == pytest.approx(3 / 4)


def test_random_clusters_agree_by_chance_only():
    rng = np.random.default_rng(0)
    found = agreement(rng.integers(0, 10, 5000), rng.integers(0, 10, 5000))
    assert found.accuracy < 0.13
    assert found.nmi < 0.01
    assert abs(found.ari) < 0.01


def test_kmeans_finds_separated_blobs_and_is_repeatable():
    points, labels = _blobs()
    first, second = (kmeans(points, 4, seed=5) for _ in range(2))
    assert agreement(first.labels, labels).accuracy == 1.0
    assert np.array_equal(first.labels, second.labels)
    assert first.inertia == second.inertia


def test_nearest_to_centres_are_members_in_order_of_distance():
    points, _ = _blobs()
    found = kmeans(points, 4, seed=5)
    for k, members in enumerate(nearest_to_centres(points, found, 7)):
        distance = np.linalg.norm(points[members] - found.centres[k], axis=1)
        others = np.linalg.norm(points[found.labels == k] - found.centres[k], axis=1)
        assert len(members) == 7
        assert set(found.labels[members]) == {k}
        assert np.allclose(distance, np.sort(others)[:7])


def test_scores_of_a_table_by_hand():
    counts = np.array([[2, 0], [1, 1]])
    assert accuracy(counts) == pytest.approx(3 / 4)
    entropy = np.log(2), -(3 / 4 * np.log(3 / 4) + 1 / 4 * np.log(1 / 4))  # clusters, classes
    joint = -(2 / 4 * np.log(2 / 4) + 2 / 4 * np.log(1 / 4))
    expected = 2 * (sum(entropy) - joint) / sum(entropy)
    assert mutual_information(counts) == pytest.approx(expected)
    # Pairs together in both: 1; in clusters: 2; in classes: 3; of 6. Expected: 2 * 3 / 6 = 1.
    assert rand_index(counts) == pytest.approx((1 - 1) / (2.5 - 1))


def test_a_single_group_on_both_sides_agrees_and_on_one_side_tells_nothing():
    assert mutual_information(np.array([[7]])) == 1.0
    assert rand_index(np.array([[7]])) == 1.0
    assert mutual_information(np.array([[4, 4]])) == pytest.approx(0.0, abs=1e-12)
    assert rand_index(np.array([[4, 4]])) == pytest.approx(0.0, abs=1e-12)


def test_replicates_are_the_scores_of_the_resampled_images():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 200)
    partitions = [np.where(rng.random(200) < p, classes, rng.integers(0, 4, 200)) for p in (0.5, 1)]
    found = agreement_replicates(partitions, classes, replicates=5, seed=3)
    for i, part in enumerate(resamples(200, 5, 3)):
        scores = [agreement(one[part], classes[part]) for one in partitions]
        for name, values in found.items():
            expected = np.mean([getattr(score, name) for score in scores])
            assert values[i] == pytest.approx(expected, abs=1e-12)
    assert found["accuracy"].std() > 0
    assert contingency(classes, classes).sum() == 200


def test_runs_start_from_different_seeds_and_the_best_has_the_least_inertia():
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((300, 3)), rng.integers(0, 4, 300)  # no groups to find
    runs = kmeans_runs(points, labels, 8, runs=6, seed=1)
    inertias = [found.inertia for found in runs.clusters]
    assert len(set(inertias)) > 1  # one start each: some end in another optimum
    assert inertias[runs.best] == min(inertias)
    values = [score.nmi for score in runs.scores]
    assert runs.mean("nmi") == pytest.approx(np.mean(values))
    assert runs.deviation("nmi") == pytest.approx(np.std(values, ddof=1))
    assert kmeans_runs(points, labels, 8, runs=1, seed=1).deviation("nmi") == 0.0


def test_neighbour_graph_tells_rings_apart_where_plain_kmeans_cannot():
    rng = np.random.default_rng(0)
    angle, labels = rng.uniform(0, 2 * np.pi, 600), np.repeat([0, 1], 300)
    radius = np.where(labels == 0, 1.0, 4.0) + 0.05 * rng.standard_normal(600)
    rings = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    assert agreement(kmeans(rings, 2, seed=0).labels, labels).accuracy < 0.7
    placed = embed_graph(neighbour_graph(rings), 2, seed=0)
    assert np.linalg.norm(placed, axis=1) == pytest.approx(np.ones(600))
    assert agreement(kmeans(placed, 2, seed=0).labels, labels).accuracy == 1.0
    assert np.array_equal(placed, embed_graph(neighbour_graph(rings), 2, seed=0))


def test_map_keeps_blobs_apart_is_repeatable_and_reports_progress():
    points, labels = _blobs()
    told = []
    first = embedding.tsne(points, 15, 3, lambda step, total: told.append((step, total)))
    second = embedding.tsne(points, 15, 3)
    assert first.shape == (160, 2)
    assert np.array_equal(first, second)
    assert embedding.knn_hits(first, labels).all()
    assert embedding.trustworthiness(points, first).mean() > 0.9
    assert told[-1] == (750, 750)
    assert [step for step, _ in told] == sorted(step for step, _ in told)


def test_trustworthiness_is_one_for_the_same_points_and_about_half_for_random_ones():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((300, 2))
    assert embedding.trustworthiness(points, 3 * points) == pytest.approx(np.ones(300))
    random = embedding.trustworthiness(points, rng.standard_normal((300, 2)))
    assert random.mean() == pytest.approx(0.5, abs=0.05)
    assert random.shape == (300,)


def test_knn_accuracy_leaves_the_point_itself_out():
    # Two pairs far apart, each of two classes: with itself counted, k = 1 would score 1.
    points = np.array([[0.0, 0], [0, 1], [50, 0], [50, 1]])
    assert not embedding.knn_hits(points, np.array([0, 1, 0, 1]), neighbours=1).any()
    assert embedding.knn_hits(points, np.array([0, 0, 1, 1]), neighbours=1).all()


def test_trustworthiness_of_a_line_folded_in_two_by_hand():
    # On the map, 0 and 3 are neighbours of each other; on the line, 3 is the third nearest of 0.
    line, folded = np.arange(4.0)[:, None], np.array([[0.0], [5], [9], [0.1]])
    found = embedding.trustworthiness(line, folded, neighbours=1)
    # n = 4, k = 1: a point loses 2 / (8 - 3 - 1) for each rank beyond the first.
    assert found == pytest.approx([0.0, 1.0, 1.0, 0.0])


def test_plane_is_the_best_linear_map():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((200, 5)) * [9, 0.1, 4, 0.1, 0.1] + 7
    found = embedding.plane(points)
    centred = points - points.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    assert np.linalg.norm(found, axis=0) == pytest.approx(singular[:2])


def test_sprite_holds_the_images_of_the_points_in_order(data):
    images = data.test_images[:130]
    sheet = np.asarray(Image.open(io.BytesIO(sprite(images))).convert("L")) / 255
    assert sheet.shape == (3 * 28, 64 * 28)
    for i in (0, 63, 64, 129):
        y, x = 28 * (i // 64), 28 * (i % 64)
        assert np.abs(sheet[y : y + 28, x : x + 28] - images[i, ..., 0]).max() <= 0.5 / 15 + 1e-6
    assert not sheet[56:, 2 * 28 :].any()  # black after the last
    document = map_document(np.array([[1.23456, -2.0]]), np.array([7]))
    assert document == {"points": [[1.23, -2.0]], "labels": [7]}
    named = map_document(np.zeros((2, 2)), np.array([1, 0]), ("boot", "<bag>"))
    assert named["labels"] == ["<bag>", "boot"]
