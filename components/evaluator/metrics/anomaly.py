"""Corrupted digits as anomalies, and how well a score separates them from intact ones.

Intact test digits are the normal class; every corruption is one kind of anomaly, applied to the
same digits, so nothing else differs between the classes. AUROC after Hanley & McNeil 1982: the
chance that an anomaly scores above a normal image; average precision after Davis & Goadrich 2006.
Pure NumPy; 2,000 images take 0.2 s.
"""

from collections.abc import Callable

import numpy as np

from components.evaluator.metrics.bootstrap import resample_counts

_ROWS = 100  # replicates at a time: below 100 MB for 2,000 images
_PATCH = 7  # pixels; 4 x 4 patches of a 28 x 28 image
_BROKEN = 0.25  # share of the digit's width or height that is wiped out, at least two pixels


def shuffled(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Puts the 7 x 7 patches of every image in a random order."""
    n, height, width, _ = images.shape
    rows, columns = height // _PATCH, width // _PATCH
    patches = images.reshape(n, rows, _PATCH, columns, _PATCH).swapaxes(2, 3)
    patches = patches.reshape(n, rows * columns, _PATCH, _PATCH)
    order = rng.permuted(np.tile(np.arange(rows * columns), (n, 1)), axis=1)
    patches = np.take_along_axis(patches, order[:, :, None, None], axis=1)
    patches = patches.reshape(n, rows, columns, _PATCH, _PATCH).swapaxes(2, 3)
    return patches.reshape(images.shape)


def rotated(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns every image by 90 degrees anticlockwise; a round 0 hardly changes."""
    return np.ascontiguousarray(np.rot90(images, axes=(1, 2)))


def noise_only(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A blank image with Gaussian noise of standard deviation 0.3, clipped to [0, 1]."""
    noise = 0.3 * rng.standard_normal(images.shape, dtype=np.float32)
    return np.clip(noise, 0.0, 1.0)


# A quarter of the digit's columns or rows is wiped out around the middle of its ink; inverted is
# black on white.
CORRUPTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "stroke broken vertically": lambda images, rng: _wipe(images, rng, axis=2),
    "stroke broken horizontally": lambda images, rng: _wipe(images, rng, axis=1),
    "patches shuffled": shuffled,
    "rotated by 90 degrees": rotated,
    "inverted": lambda images, rng: 1.0 - images,
    "blank with noise": noise_only,
}


def corrupt(images: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """``images`` [N, 28, 28, 1] in [0, 1] under the corruption ``kind``; same shape and range."""
    rng = np.random.default_rng([seed, list(CORRUPTIONS).index(kind)])
    return CORRUPTIONS[kind](images, rng).astype(np.float32)


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """Area under the ROC curve of scores [N] and [M]: P(anomalous > normal) + P(equal) / 2."""
    return float(ranking(normal, anomalous)[0][0])


def ranking(
    normal: np.ndarray, anomalous: np.ndarray, weights: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of scores [N] and [M], under B sets of weights.

    Args:
        normal: Scores of normal images.
        anomalous: Scores of anomalies, which should be higher.
        weights: [B, N] and [B, M], such as how often each image was resampled; None: 1 each, B = 1.

    Returns:
        Both [B]; NaN where a score is not finite. Guessing gives 0.5, and the share of anomalies.
    """
    scores = np.concatenate([normal, anomalous])
    plain = (np.ones((1, len(normal))), np.ones((1, len(anomalous))))
    light, heavy = weights or plain
    if not np.isfinite(scores).all():
        return np.full(len(light), np.nan), np.full(len(light), np.nan)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # equal scores: one

    def passed(weight: np.ndarray, start: int) -> np.ndarray:
        """Weight above each threshold, from none to all: [B, T + 1]."""
        spread = np.zeros((len(weight), len(scores)))
        spread[:, start : start + weight.shape[1]] = weight
        return np.pad(np.cumsum(spread[:, order], axis=1)[:, last], ((0, 0), (1, 0)))

    false, true = passed(light, 0), passed(heavy, len(normal))
    gained = np.diff(true, axis=1)
    area = np.sum(np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1]) / 2, axis=1)
    precision = true[:, 1:] / np.maximum(true[:, 1:] + false[:, 1:], 1e-300)
    return (
        area / (false[:, -1] * true[:, -1]),
        np.sum(gained * precision, axis=1) / true[:, -1],
    )


def ranking_replicates(
    normal: np.ndarray, anomalous: np.ndarray, replicates: int, seeds: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap replicates [B] of AUROC and average precision.

    Args:
        normal: Scores [N].
        anomalous: Scores [M].
        replicates: B.
        seeds: For resampling each set; twice the same if the anomalies are the normal images under
            a corruption, which are then resampled together.
    """
    weights = [
        resample_counts(len(scores), replicates, seed)
        for scores, seed in zip((normal, anomalous), seeds, strict=True)
    ]
    parts = [
        ranking(normal, anomalous, (weights[0][i : i + _ROWS], weights[1][i : i + _ROWS]))
        for i in range(0, replicates, _ROWS)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _wipe(images: np.ndarray, rng: np.random.Generator, axis: int) -> np.ndarray:
    """Sets a band across ``axis`` to 0, within a pixel of the centre of mass of the ink.

    The band is as wide as a share of the digit, so that a 1 is split and not wiped out.
    """
    along = images.sum(axis=(3, 3 - axis))  # ink per row or column: [N, 28]
    places = np.arange(along.shape[1])
    centre = (along * places).sum(axis=1) / np.maximum(along.sum(axis=1), 1e-6)
    centre = centre + rng.uniform(-1.0, 1.0, len(images))
    extent = (along > 0).sum(axis=1)
    width = np.maximum(2.0, _BROKEN * extent)
    band = np.abs(places - centre[:, None]) <= width[:, None] / 2  # [N, 28]
    keep = ~(band[:, :, None, None] if axis == 1 else band[:, None, :, None])
    return images * keep
