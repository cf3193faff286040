"""How realistic and how varied generated images are: precision, recall, density, coverage.

A set's manifold is the union of balls around its members that reach to their k-th neighbour.
Kynkäänniemi et al. 2019 (arXiv 1904.06991), eq. 1-2, k = 3; Naeem et al. 2020 (arXiv 2002.09797),
eq. 3 and 5, k = 5. Pure NumPy in float64; 5,000 against 5,000 take two seconds. Two sets of real
images do not reach 1, so every metric needs its reference value.
"""

import dataclasses

import numpy as np

from components.evaluator.metrics.neighbours import k_nearest

_MANIFOLD, _BALLS = 3, 5  # neighbours of precision and recall, and of density and coverage
_BLOCK = 500  # generated images at a time


@dataclasses.dataclass(frozen=True)
class Manifolds:
    """One number per image; the mean of each is the metric."""

    precise: np.ndarray  # [N] generated: whether within the real manifold
    recalled: np.ndarray  # [M] real: whether within the generated manifold
    density: np.ndarray  # [N] generated: number of real balls around it, over k; may exceed 1
    covered: np.ndarray  # [M] real: whether a generated image lies within its ball


def manifolds(generated: np.ndarray, real: np.ndarray) -> Manifolds:
    """Compares features [N, D] with [M, D], more than five of each."""
    x, y = generated.astype(np.float64), real.astype(np.float64)
    own = k_nearest(x, x, _MANIFOLD, same=True)[0][:, -1]  # radii of the generated manifold: [N]
    balls = k_nearest(y, y, _BALLS, same=True)[0]  # [M, 5]
    radii, wide = balls[:, _MANIFOLD - 1], balls[:, -1]
    precise, density = np.empty(len(x), bool), np.empty(len(x))
    recalled, covered = np.zeros(len(y), bool), np.zeros(len(y), bool)
    norms = np.einsum("ij,ij->i", y, y)
    for start in range(0, len(x), _BLOCK):
        part = x[start : start + _BLOCK]
        squared = np.einsum("ij,ij->i", part, part)[:, None] + norms - 2.0 * part @ y.T
        distance = np.sqrt(np.maximum(squared, 0.0))  # [B, M]
        rows = slice(start, start + len(part))
        precise[rows] = (distance <= radii).any(axis=1)
        inside = distance <= wide
        density[rows] = inside.sum(axis=1) / _BALLS
        covered |= inside.any(axis=0)
        recalled |= (distance <= own[rows, None]).any(axis=0)
    return Manifolds(precise, recalled, density, covered)
