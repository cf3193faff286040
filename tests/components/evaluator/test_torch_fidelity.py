"""Agreement with torch-fidelity 0.4.0, whose answers on the same arrays are written down here.

torch does not belong to the development tools for its size. The numbers are what
``metric_fid.fid_statistics_to_metric``, ``metric_kid.kernel_mmd`` (cubic, gamma 1/16, offset 1),
``metric_isc.isc_features_to_metric`` (no shuffling) and ``metric_prc.prc_features_to_metric``
(three neighbours, generated first) returned for float64 arrays.
"""

import numpy as np
import pytest
from scipy.special import softmax

from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.metrics.inception_score import inception_score
from components.evaluator.metrics.kid import kid
from components.evaluator.metrics.precision_recall import manifolds


@pytest.fixture(scope="module")
def arrays():
    """Features [600, 16] and [500, 16], both above zero, and logits [600, 10]."""
    rng = np.random.default_rng(2026)
    generated = np.abs(rng.standard_normal((600, 16)))
    real = np.abs(0.3 + 1.2 * rng.standard_normal((500, 16)))
    return generated, real, 3 * rng.standard_normal((600, 10))


def test_frechet_distance(arrays):
    assert frechet_distance_of(*arrays[:2]) == pytest.approx(0.9620648836035102, rel=1e-6)


def test_kernel_distance(arrays):
    generated, real, _ = arrays
    assert kid(generated[:500], real) == pytest.approx(0.6329282224229864, rel=1e-6)


def test_inception_score(arrays):
    p = softmax(arrays[2], axis=1)
    expected = (3.778568501611068, 0.3458165415373938)
    assert inception_score(p, 10) == pytest.approx(expected, rel=1e-3)
    assert inception_score(p, 1)[0] == pytest.approx(3.898319322769338, rel=1e-3)


def test_precision_and_recall(arrays):
    found = manifolds(*arrays[:2])
    assert found.precise.mean() == pytest.approx(0.9483333230018616, abs=1e-6)
    assert found.recalled.mean() == pytest.approx(0.5519999861717224, abs=1e-6)
