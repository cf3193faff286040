"""A map of the code in two dimensions by t-SNE, and how far it can be believed.

t-SNE after van der Maaten & Hinton 2008 with the interpolation of Linderman et al. 2019 (openTSNE)
and PCA start (Kobak & Berens 2019), which keeps the large-scale order. Trustworthiness after Venna
& Kaski 2001, eq. 1. 4,000 x 32 codes take about 15 s on two cores; same seed, same map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_ITERATIONS = 750  # 250 of them with early exaggeration, as openTSNE's defaults
_REPORT_EVERY = 50
_FFT_POINTS = 2000  # below this many the grid of the FFT costs more than a Barnes-Hut tree
_TRUST_POINTS = 5000  # trustworthiness needs all pairs of distances in memory


def tsne(
    points: np.ndarray,
    perplexity: float,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda step, total: None,
) -> np.ndarray:
    """Maps ``points`` [N, D] to [N, 2]; ``on_progress`` hears (iterations done, of how many)."""
    import openTSNE
    from threadpoolctl import threadpool_limits

    done = 0

    def tell(iteration: int, error: float, embedding: np.ndarray) -> bool:
        nonlocal done
        done += _REPORT_EVERY
        on_progress(min(done, _ITERATIONS), _ITERATIONS)
        return False  # go on

    embedder = openTSNE.TSNE(
        perplexity=min(perplexity, (len(points) - 1) / 3),
        initialization="pca",
        negative_gradient_method="fft" if len(points) >= _FFT_POINTS else "bh",
        neighbors="exact",  # approximate neighbours would depend on the number of threads
        n_jobs=1,  # as would the order of sums in the gradient; two gain little at this size
        random_state=seed,
        callbacks=tell,
        callbacks_every_iters=_REPORT_EVERY,
    )
    with threadpool_limits(1):
        return np.asarray(embedder.fit(points.astype(np.float64)))


def trustworthiness(points: np.ndarray, embedded: np.ndarray, neighbours: int = 12) -> float:
    """Trustworthiness of the map ``embedded`` [N, 2] of ``points`` [N, D], in [0, 1].

    Falls below 1 by the ranks of points that are neighbours on the map but not before. Beyond
    5,000 points it is measured on the first 5,000 of them, as the points come in random order.
    """
    from sklearn.manifold import trustworthiness as sklearn_trustworthiness

    x, y = points[:_TRUST_POINTS], embedded[:_TRUST_POINTS]
    neighbours = min(neighbours, (len(x) - 1) // 2)
    return float(sklearn_trustworthiness(x, y, n_neighbors=neighbours))


def knn_accuracy(points: np.ndarray, classes: np.ndarray, neighbours: int = 10) -> float:
    """Share of points whose class is the majority among their nearest others (leave-one-out).

    A tie goes to the smaller class number.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(neighbours, len(points) - 1)).fit(points)
    votes = classes[index.kneighbors(return_distance=False)]  # [N, neighbours], without itself
    counts = np.stack([(votes == k).sum(axis=1) for k in range(classes.max() + 1)], axis=1)
    return float(np.mean(counts.argmax(axis=1) == classes))
