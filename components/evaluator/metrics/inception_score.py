"""Inception Score and class histogram, from the judge's probabilities.

Salimans et al. 2016 (arXiv 1606.03498), section 4: exp(E_x KL(p(y|x) || p(y))), averaged over
splits as the authors' code does. Here p is the judge, not Inception-v3. Pure NumPy, float64.
"""

import numpy as np

from components.evaluator.metrics.bootstrap import bootstrap, resamples


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation over ``splits`` consecutive parts of ``probabilities`` [N, K].

    Lies between 1 (all verdicts alike) and K (sure verdicts, all classes alike). Fewer than ten
    images per split would bias it low, so there are then fewer splits.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise ValueError(f"Probabilities must be [N >= 1, K], not {probabilities.shape}.")
    p = probabilities.astype(np.float64)
    parts = np.array_split(p, max(1, min(splits, len(p) // 10)))
    scores = [np.exp(_mean_divergence(part)) for part in parts]
    return float(np.mean(scores)), float(np.std(scores))


def score_replicates(
    probabilities: np.ndarray, splits: int, replicates: int, seed: int
) -> np.ndarray:
    """Bootstrap replicates [B] of the mean that ``inception_score`` gives."""
    p = probabilities.astype(np.float64)
    return bootstrap(lambda part: inception_score(p[part], splits)[0], len(p), replicates, seed)


def class_histogram(probabilities: np.ndarray) -> np.ndarray:
    """Share of every class [K] among the most likely ones of ``probabilities`` [N, K]."""
    return _shares(probabilities.argmax(axis=1), probabilities.shape[1])


def histogram_replicates(probabilities: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Bootstrap replicates [B, K] of ``class_histogram``."""
    classes, count = probabilities.argmax(axis=1), probabilities.shape[1]
    parts = resamples(len(classes), replicates, seed)
    return np.stack([_shares(classes[part], count) for part in parts])


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation distance of two histograms [K]: half the summed absolute difference."""
    return float(0.5 * np.abs(p - q).sum())


def missing_modes(generated: np.ndarray, real: np.ndarray, share: float = 0.1) -> int:
    """Classes of ``real`` [K] with less than ``share`` of it in ``generated`` [K]."""
    return int(np.sum((real > 0) & (generated < share * real)))


def _shares(classes: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(classes, minlength=count) / len(classes)


def _mean_divergence(p: np.ndarray) -> float:
    """E_x KL(p(y|x) || p(y)) in nats, with 0 log 0 = 0; NaN passes through."""
    marginal = p.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0.0, p * (np.log(p) - np.log(marginal)))
    return float(terms.sum(axis=1).mean())
