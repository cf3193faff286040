"""The neighbour graph, its modularity, and the partition that is chosen by it."""

import numpy as np
import pytest

from core.clusters import (
    GRAPH_NEIGHBOURS,
    embed_graph,
    graph_clusters,
    kmeans,
    modularity,
    neighbour_graph,
)


@pytest.fixture(scope="module")
def bars() -> tuple[np.ndarray, np.ndarray]:
    """One long bar of 300 points and five round groups of 60; points and their groups."""
    rng = np.random.default_rng(0)
    bar = np.stack([rng.uniform(-20, 20, 300), 0.3 * rng.standard_normal(300)], axis=1)
    middles = np.array([[-8, 6], [-4, 6], [0, 6], [4, 6], [8, 6]])
    round_ones = np.repeat(middles, 60, axis=0) + 0.5 * rng.standard_normal((300, 2))
    return np.concatenate([bar, round_ones]), np.repeat(range(6), [300, 60, 60, 60, 60, 60])


def test_two_points_are_joined_if_one_is_among_the_nearest_of_the_other(bars):
    points, _ = bars
    squares = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(squares, np.inf)
    nearest = np.argsort(squares, axis=1)[:, :GRAPH_NEIGHBOURS]
    expected = np.zeros_like(squares)
    np.put_along_axis(expected, nearest, 1, axis=1)
    expected = np.maximum(expected, expected.T)
    np.testing.assert_array_equal(neighbour_graph(points).toarray(), expected)


def test_modularity_is_its_definition(bars):
    points, groups = bars
    graph = neighbour_graph(points)
    dense = graph.toarray()
    degrees, edges = dense.sum(1), dense.sum()
    same = groups[:, None] == groups
    expected = ((dense - np.outer(degrees, degrees) / edges) * same).sum() / edges
    assert modularity(graph, groups) == pytest.approx(expected)
    assert modularity(graph, np.zeros_like(groups)) == pytest.approx(0)


def test_the_partition_of_most_modularity_is_taken_and_repeatable(bars):
    points, _ = bars
    labels, found = graph_clusters(points, 6, seed=0)
    graph = neighbour_graph(points)
    assert found == modularity(graph, labels)
    placed = embed_graph(graph, 6, seed=0)
    runs = [kmeans(placed, 6, seed) for seed in range(20)]
    scores = [modularity(graph, run.labels) for run in runs]
    assert found == max(scores)
    # The run of least inertia cuts the bar: it is another one, and worse.
    assert found > scores[int(np.argmin([run.inertia for run in runs]))] + 0.01
    np.testing.assert_array_equal(labels, graph_clusters(points, 6, seed=0)[0])
