"""The clustering loss, its targets, and what a training with it does to the codes."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from core.clusters import kmeans
from core.config import InputError
from core.digits import Digits
from tests.conftest import ROOT
from trainer_modules.autoencoder.clusters import (
    cluster_loss,
    sharpened,
    soft_clusters,
    squared_distances,
)
from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.autoencoder.model import AutoencoderTrainer, build_decoder, build_encoder
from trainer_modules.autoencoder.train import train

SMALL = {"channels": 8, "batch_size": 64, "clusters": 4}
IN_JAX = """
import json
import numpy as np
from core.digits import Digits
from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.autoencoder.train import train

images = np.random.default_rng(0).uniform(size=(128, 28, 28, 1)).astype("float32")
data = Digits(images, np.zeros(128, "int64"), 0.5, 0.3, 10)
config = AutoencoderConfig(channels=4, batch_size=64, epochs=3, contrastive_epochs=1, clusters=3)
print(json.dumps(train(config, data, data).history.curves))
"""


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def shares_of(code, centres, spread):
    """By the definition, in double precision and one pair at a time."""
    q = np.array([[np.exp(-2 * ((z - m) ** 2).sum() / spread) for m in centres] for z in code])
    return q / q.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 5)), rng.normal(size=(3, 5))


def test_soft_clusters_are_their_definition(points):
    squares = squared_distances(*(x.astype("float32") for x in points))
    found = np.exp(to_numpy(soft_clusters(squares, 5.0)))
    np.testing.assert_allclose(found, shares_of(*points, 5.0), rtol=1e-4)


def targets_of(q):
    targets = q**2 / q.mean(axis=0)
    return targets / targets.sum(axis=1, keepdims=True)


def test_targets_are_squares_over_the_sizes_of_the_clusters(points):
    q = shares_of(*points, 5.0)
    found = sharpened(np.log(q).astype("float32"), q.mean(axis=0).astype("float32"))
    np.testing.assert_allclose(to_numpy(found), targets_of(q), rtol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_targets_at_any_scale(points):
    code, centres = points
    targets = targets_of(shares_of(code, centres, 5.0))
    squares = ((code[:, None] - centres) ** 2).sum(axis=2)
    q = shares_of(code, centres, (targets * squares).sum(axis=1).mean())
    expected = -(targets * np.log(q)).sum(axis=1)
    for scale in (1.0, 100.0):
        found = cluster_loss((scale * squares).astype("float32"), targets.astype("float32"))
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-4)


def test_centres_spread_and_sizes_are_those_of_the_given_clusters(digits):
    encoder, decoder = (f(AutoencoderConfig(channels=4)) for f in (build_encoder, build_decoder))
    trainer = AutoencoderTrainer(encoder, decoder, 0.5, 0.8, 0, cluster_weight=0.1, clusters=2)
    rng = np.random.default_rng(0)
    code, labels = rng.normal(size=(50, 32)).astype("float32"), np.repeat([0, 1], 25)
    code[labels == 1] += 2
    trainer.gather(code, labels)
    centres = np.stack([code[:25].mean(0), code[25:].mean(0)])
    spread = np.mean(((code - centres[labels]) ** 2).sum(1))
    np.testing.assert_allclose(to_numpy(trainer.centres), centres, rtol=1e-5)
    assert float(trainer.spread) == pytest.approx(spread, rel=1e-5)
    sizes = shares_of(code.astype("float64"), centres, spread).mean(axis=0)
    np.testing.assert_allclose(to_numpy(trainer.sizes), sizes, rtol=1e-3)


def test_the_clustering_loss_takes_the_place_of_the_contrastive_one(digits):
    encoder, decoder = (f(AutoencoderConfig(channels=4)) for f in (build_encoder, build_decoder))
    weights = {"contrastive_weight": 10.0, "cluster_weight": 0.0}
    x = digits.images[:64]

    def code_loss(weights) -> np.ndarray:
        keras.utils.set_random_seed(0)
        trainer = AutoencoderTrainer(encoder, decoder, 0.5, 0.8, 0, **weights, clusters=3)
        if weights["cluster_weight"]:
            trainer.gather(to_numpy(encoder(x)), np.arange(64) % 3)
        assert not to_numpy(trainer(x, training=False)[1]).any()
        return to_numpy(trainer(x, training=True)[1])

    contrast = code_loss(weights)
    both = code_loss({**weights, "cluster_weight": 2.0})
    assert (contrast > 10).all()  # ten times about log 64
    assert 0.5 * 2 * np.log(3) < both.mean() < 2 * 2 * np.log(3)


def test_the_codes_gather_in_as_many_clusters_as_are_set(digits):
    """The share of the codes' variance that lies between four clusters of K-Means."""

    def share_between(weight: float) -> float:
        config = AutoencoderConfig(**SMALL, epochs=30, contrastive_epochs=10, cluster_weight=weight)
        trained = train(config, digits, digits)
        modularity = trained.history.curves.get("cluster_modularity", [])
        assert len(modularity) == (20 if weight else 0)
        code = to_numpy(trained.networks["encoder"](digits.images))
        within = min(kmeans(code, 4, seed).inertia for seed in range(5))
        return 1 - within / float(((code - code.mean(0)) ** 2).sum())

    assert share_between(0.05) > share_between(0.0) + 0.1


def test_fewer_images_than_clusters_are_refused(digits):
    few = Digits(digits.images[:8], digits.labels[:8], 0.1, 0.3, 10)
    config = AutoencoderConfig(channels=4, batch_size=4, epochs=3)
    with pytest.raises(InputError, match="holds 8 images, too few for 10 clusters"):
        train(config, few, few)


def test_the_clusters_are_found_on_jax_too():
    process = subprocess.run(
        [sys.executable, "-c", IN_JAX],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    curves = json.loads(process.stdout.splitlines()[-1])
    assert len(curves["cluster_modularity"]) == 2
    assert np.isfinite(curves["loss"]).all() and len(curves["val_loss"]) == 3
