"""K-Means on images, codes or a neighbour graph of them, over several seeds.

K-Means ends in a local optimum that depends on its start (Lloyd 1982; Arthur & Vassilvitskii 2007),
so every metric is the mean of runs over seeds, one k-means++ start each, and no run is selected by
its metric; plots show the run of least inertia, which needs no label. The neighbour graph is that
of Ng, Jordan & Weiss 2001. 10,000 x 784 pixels take 0.7 s a run on one core.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.evaluator.metrics.agreement import Agreement, agreement

GRAPH_NEIGHBOURS = 10  # von Luxburg 2007, section 8: of the order of log N


@dataclasses.dataclass(frozen=True)
class Clusters:
    """A partition of N points around k centres."""

    labels: np.ndarray  # [N] cluster of each point, 0..k-1
    centres: np.ndarray  # [k, D]
    inertia: float  # summed squared distance to the own centre


@dataclasses.dataclass(frozen=True)
class Runs:
    """K-Means on the same points from several seeds, each run with its agreement."""

    clusters: Sequence[Clusters]
    scores: Sequence[Agreement]

    @property
    def best(self) -> int:
        """The run of least inertia."""
        return int(np.argmin([found.inertia for found in self.clusters]))

    def mean(self, score: str) -> float:
        """Mean of "accuracy", "nmi" or "ari" over the runs."""
        return float(np.mean([getattr(s, score) for s in self.scores]))

    def deviation(self, score: str) -> float:
        """Standard deviation over the runs; 0 for a single one."""
        values = [getattr(s, score) for s in self.scores]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def kmeans(points: np.ndarray, clusters: int, seed: int) -> Clusters:
    """Lloyd's algorithm from one k-means++ start on ``points`` [N, ...]."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    x = np.ascontiguousarray(points.reshape(len(points), -1), dtype=np.float32)
    # One thread: on a busy machine OpenMP's waiting threads made two of them ten times slower.
    with threadpool_limits(1):
        fit = KMeans(n_clusters=clusters, n_init=1, random_state=seed).fit(x)
    return Clusters(fit.labels_, fit.cluster_centers_, float(fit.inertia_))


def kmeans_runs(
    points: np.ndarray, classes: np.ndarray, clusters: int, runs: int, seed: int
) -> Runs:
    """``runs`` times ``kmeans`` from the seeds that follow ``seed``, scored by ``classes`` [N]."""
    found = [kmeans(points, clusters, seed + i) for i in range(runs)]
    return Runs(found, [agreement(one.labels, classes) for one in found])


def graph_embedding(points: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Places ``points`` [N, ...] by their neighbour graph: [N, size], rows of length 1.

    Leading eigenvectors of D^-1/2 W D^-1/2, where W joins two points if one is among the ten
    nearest of the other (Ng, Jordan & Weiss 2001, steps 1 to 4, with a graph in place of a dense
    kernel). Groups of any shape become compact, so that K-Means can tell them apart.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import eigsh
    from sklearn.neighbors import kneighbors_graph
    from threadpoolctl import threadpool_limits

    x = np.ascontiguousarray(points.reshape(len(points), -1), dtype=np.float32)
    with threadpool_limits(1):  # sums in a fixed order: same seed, same embedding
        graph = kneighbors_graph(x, min(GRAPH_NEIGHBOURS, len(x) - 1))
        graph = graph.maximum(graph.T).astype(np.float64)
        scale = diags(1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel()))
        start = np.random.default_rng(seed).uniform(size=len(x))
        _, vectors = eigsh(scale @ graph @ scale, k=size, which="LA", v0=start)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest_to_centres(points: np.ndarray, clusters: Clusters, count: int) -> list[np.ndarray]:
    """For every cluster the indices of its ``count`` members nearest to the centre, in order."""
    x = points.reshape(len(points), -1)
    nearest = []
    for k, centre in enumerate(clusters.centres):
        members = np.flatnonzero(clusters.labels == k)
        distance = np.sum((x[members] - centre) ** 2, axis=1)
        nearest.append(members[np.argsort(distance, kind="stable")[:count]])
    return nearest
