"""How well a partition agrees with the true classes: accuracy, mutual information, Rand index.

All three follow from the table of counts alone: accuracy under the best one-to-one matching of
clusters to classes (Hungarian method, Kuhn 1955), as in Xie et al. 2016 (arXiv 1511.06335), eq. 10;
NMI with the arithmetic mean of the entropies (Vinh et al. 2010, JMLR 11); ARI after Hubert & Arabie
1985, eq. 5. Contract: tables are [..., k, c], so a thousand resampled ones are scored at once.
"""

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from components.evaluator.metrics.bootstrap import resample_counts


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well clusters and classes agree."""

    accuracy: float
    nmi: float
    ari: float
    majority: np.ndarray  # [k] most frequent class of each cluster
    purity: np.ndarray  # [k] share of the most frequent class in the cluster


def agreement(clusters: np.ndarray, classes: np.ndarray) -> Agreement:
    """Scores a partition ``clusters`` [N] against ``classes`` [N], both integers from 0."""
    counts = contingency(clusters, classes)
    return Agreement(
        accuracy=float(accuracy(counts)),
        nmi=float(mutual_information(counts)),
        ari=float(rand_index(counts)),
        majority=counts.argmax(axis=1),
        purity=counts.max(axis=1) / np.maximum(counts.sum(axis=1), 1),
    )


def agreement_replicates(
    partitions: list[np.ndarray], classes: np.ndarray, replicates: int, seed: int
) -> dict[str, np.ndarray]:
    """Bootstrap replicates [B] of accuracy, nmi and ari, each the mean over ``partitions`` [N].

    Images are resampled, partitions are not: only the scored sample varies.
    """
    weights = resample_counts(len(classes), replicates, seed)
    total = {name: np.zeros(replicates) for name in ("accuracy", "nmi", "ari")}
    for clusters in partitions:
        shape = (clusters.max() + 1, classes.max() + 1)
        cell = clusters * shape[1] + classes
        counts = (weights @ np.eye(shape[0] * shape[1], dtype=np.float32)[cell]).astype(np.float64)
        counts = counts.reshape(-1, *shape)
        total["accuracy"] += accuracy(counts)
        total["nmi"] += mutual_information(counts)
        total["ari"] += rand_index(counts)
    return {name: values / len(partitions) for name, values in total.items()}


def contingency(clusters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Counts [k, c] of every pair of cluster and class, from integers [N] and [N] from 0."""
    shape = (clusters.max() + 1, classes.max() + 1)
    cell = clusters * shape[1] + classes
    return np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of images in the cluster matched to their class, by the best matching: [...]."""
    tables = counts.reshape(-1, *counts.shape[-2:])
    best = [t[linear_sum_assignment(t, maximize=True)].sum() / t.sum() for t in tables]
    return np.reshape(best, counts.shape[:-2])


def mutual_information(counts: np.ndarray) -> np.ndarray:
    """Mutual information of clusters and classes over the mean of their entropies: [...].

    1 where both are a single group, as the two partitions are then the same.
    """
    p = counts / counts.sum(axis=(-2, -1), keepdims=True)
    rows, columns = p.sum(axis=-1), p.sum(axis=-2)
    joint = -xlogy(p, p).sum(axis=(-2, -1))
    entropies = -xlogy(rows, rows).sum(axis=-1) - xlogy(columns, columns).sum(axis=-1)
    shared = np.maximum(entropies - joint, 0.0)
    return np.where(entropies > 0, 2 * shared / np.maximum(entropies, 1e-300), 1.0)


def rand_index(counts: np.ndarray) -> np.ndarray:
    """Rand index adjusted for chance: [...]; 1 where nothing is left to chance."""

    def pairs(n: np.ndarray) -> np.ndarray:
        return n * (n - 1) / 2

    counts = counts.astype(np.float64)
    together = pairs(counts).sum(axis=(-2, -1))
    rows = pairs(counts.sum(axis=-1)).sum(axis=-1)
    columns = pairs(counts.sum(axis=-2)).sum(axis=-1)
    expected = rows * columns / pairs(counts.sum(axis=(-2, -1)))
    room = (rows + columns) / 2 - expected
    return np.where(room > 0, (together - expected) / np.where(room > 0, room, 1.0), 1.0)
