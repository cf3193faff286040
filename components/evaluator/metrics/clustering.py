"""K-Means over several seeds, scored by classes, and the members nearest to its centres.

K-Means ends in a local optimum that depends on its start (Lloyd 1982; Arthur & Vassilvitskii 2007),
so every metric is the mean of runs over seeds, one k-means++ start each, and no run is selected by
its metric; plots show the run of least inertia, which needs no label. 10,000 x 784 pixels take
0.7 s a run on one core.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.evaluator.metrics.agreement import Agreement, agreement
from core.clusters import Clusters, kmeans


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


def kmeans_runs(
    points: np.ndarray, classes: np.ndarray, clusters: int, runs: int, seed: int
) -> Runs:
    """``runs`` times ``kmeans`` from the seeds that follow ``seed``, scored by ``classes`` [N]."""
    found = [kmeans(points, clusters, seed + i) for i in range(runs)]
    return Runs(found, [agreement(one.labels, classes) for one in found])


def nearest_to_centres(points: np.ndarray, clusters: Clusters, count: int) -> list[np.ndarray]:
    """For every cluster the indices of its ``count`` members nearest to the centre, in order."""
    x = points.reshape(len(points), -1)
    nearest = []
    for k, centre in enumerate(clusters.centres):
        members = np.flatnonzero(clusters.labels == k)
        distance = np.sum((x[members] - centre) ** 2, axis=1)
        nearest.append(members[np.argsort(distance, kind="stable")[:count]])
    return nearest
