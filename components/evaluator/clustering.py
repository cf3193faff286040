"""K-Means on pixels or codes, and its agreement with the true classes.

Accuracy is under the best one-to-one matching of clusters to classes (Hungarian method, Kuhn
1955), as in Xie et al. 2016 (arXiv 1511.06335), eq. 10; NMI and ARI (Hubert & Arabie 1985) need no
matching. Labels score the clusters, they never shape them. 10,000 x 784 pixels take a few seconds.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclasses.dataclass(frozen=True)
class Clusters:
    """A partition of N points around k centres."""

    labels: np.ndarray  # [N] cluster of each point, 0..k-1
    centres: np.ndarray  # [k, D]
    inertia: float  # summed squared distance to the own centre


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well clusters and classes agree."""

    accuracy: float
    nmi: float
    ari: float
    classes: np.ndarray  # [k] class matched to each cluster; -1 where there are more clusters
    majority: np.ndarray  # [k] most frequent class of each cluster
    purity: np.ndarray  # [k] share of the most frequent class in the cluster


def kmeans(points: np.ndarray, clusters: int, restarts: int, seed: int) -> Clusters:
    """Lloyd's algorithm from k-means++ starts; of ``restarts`` runs the one of least inertia."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    x = np.ascontiguousarray(points.reshape(len(points), -1), dtype=np.float32)
    # One thread: on a busy machine OpenMP's waiting threads made two of them ten times slower.
    with threadpool_limits(1):
        fit = KMeans(n_clusters=clusters, n_init=restarts, random_state=seed).fit(x)
    return Clusters(fit.labels_, fit.cluster_centers_, float(fit.inertia_))


def agreement(clusters: np.ndarray, classes: np.ndarray) -> Agreement:
    """Scores a partition ``clusters`` [N] against ``classes`` [N], both integers from 0."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    counts = np.zeros((clusters.max() + 1, classes.max() + 1), np.int64)
    np.add.at(counts, (clusters, classes), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched = np.full(len(counts), -1)
    matched[rows] = columns
    return Agreement(
        accuracy=float(counts[rows, columns].sum() / len(classes)),
        nmi=float(normalized_mutual_info_score(classes, clusters)),
        ari=float(adjusted_rand_score(classes, clusters)),
        classes=matched,
        majority=counts.argmax(axis=1),
        purity=counts.max(axis=1) / np.maximum(counts.sum(axis=1), 1),
    )


def nearest_to_centres(points: np.ndarray, clusters: Clusters, count: int) -> list[np.ndarray]:
    """For every cluster the indices of its ``count`` members nearest to the centre, in order."""
    x = points.reshape(len(points), -1)
    nearest = []
    for k, centre in enumerate(clusters.centres):
        members = np.flatnonzero(clusters.labels == k)
        distance = np.sum((x[members] - centre) ** 2, axis=1)
        nearest.append(members[np.argsort(distance, kind="stable")[:count]])
    return nearest
