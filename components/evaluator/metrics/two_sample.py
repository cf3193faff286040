"""Accuracy of two classifiers in separating generated from real images, ideally 50 %.

Nearest neighbour with leave-one-out (Xu et al. 2018, arXiv 1806.07755, section 2), and a freshly
trained network on held-out halves (C2ST; Lopez-Paz & Oquab 2017, arXiv 1610.06545). Unlike a GAN's
own discriminator these were not trained together with the generator, so 50 % does mean that they
find no difference. Contract: one truth value per image, so that intervals are those of a mean.
"""

import numpy as np

from components.evaluator.metrics.classifier import fit_classifier, predict
from components.evaluator.metrics.neighbours import k_nearest


def neighbour_verdicts(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Whether the nearest other image is of the same kind, of features [N, D] and [N, D]: [2 N].

    Above 50 % the two sets are separate; far below, generated images are copies of real ones.
    """
    n = min(len(generated), len(real))  # chance is one half only for equal numbers
    both = np.concatenate([generated[:n], real[:n]])
    kind = np.arange(2 * n) < n
    _, nearest = k_nearest(both, both, 1, same=True)
    return kind[nearest[:, 0]] == kind


def classifier_verdicts(generated: np.ndarray, real: np.ndarray, seed: int) -> np.ndarray:
    """Whether a network trained on one half judges the other right, of images [N, 28, 28, 1] each.

    Pixels are rounded to the 256 grey values of a file first: real images have no others, and a
    network that detects decimals would not measure the digits. Returns [N] truth values.
    """
    n = min(len(generated), len(real)) // 2
    images = np.concatenate([generated[:n], real[:n], generated[n : 2 * n], real[n : 2 * n]])
    images = np.round(255 * images) / np.float32(255)
    fake = np.tile(np.repeat([1, 0], n), 2)
    network = fit_classifier(images[: 2 * n], fake[: 2 * n], 2, seed)
    return predict(network, images[2 * n :]).argmax(axis=1) == fake[2 * n :]
