"""The images that a model is judged by, and what depends on them and the judge alone.

Contract: ``EvalData`` holds Transform's test and train splits; ``References`` computes each
yardstick once, when it is first asked for, and serves candidate and champion alike. Judging 10,000
images takes about three seconds on two cores.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from components.evaluator import denoising, reconstruction
from components.evaluator.clustering import Agreement, Clusters, agreement, kmeans
from components.evaluator.config import EvaluatorConfig
from components.evaluator.frechet import frechet_distance_of
from components.evaluator.inception_score import (
    class_histogram,
    inception_score,
    missing_modes,
    total_variation,
)
from components.evaluator.models import LoadedModel
from trainer_modules.common.data import read_digits


@dataclasses.dataclass(frozen=True)
class EvalData:
    """Images [N, 28, 28, 1] float32 in [0, 1] with labels [N] int64."""

    test_images: np.ndarray
    test_labels: np.ndarray
    train_images: np.ndarray
    num_classes: int


def read_eval_data(examples_uri: str) -> EvalData:
    """Reads Transform's output; splits are found by directory, which both runners keep.

    Raises:
        InputError: A split has no examples.
    """
    test = read_digits([str(Path(examples_uri) / "Split-test" / "*")])
    train = read_digits([str(Path(examples_uri) / "Split-train" / "*")])
    return EvalData(test.images, test.labels, train.images, train.num_classes)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the judge says of a set of images."""

    features: np.ndarray  # [N, D]
    probabilities: np.ndarray  # [N, K]

    @property
    def classes(self) -> np.ndarray:
        """Most likely class of each image: [N]."""
        return self.probabilities.argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class GenerationScores:
    """Figures of one set of images beside the test images."""

    frechet_distance: float
    inception_score: float
    inception_deviation: float  # over the splits
    class_tv: float
    missing_modes: int
    histogram: np.ndarray  # [K] shares


@dataclasses.dataclass(frozen=True)
class Noisy:
    """Test images under one noise level, with the figures of doing nothing and of LMMSE."""

    clean: np.ndarray  # [N, 28, 28, 1]
    noisy: np.ndarray  # the same plus noise, clipped to [0, 1]
    noisy_psnr: float  # dB, mean over the images, like the others
    noisy_ssim: float
    linear_psnr: float
    linear_ssim: float


class References:
    """Yardsticks that depend on data, judge and config alone, each computed once."""

    def __init__(self, data: EvalData, judge: LoadedModel, config: EvaluatorConfig):
        self.data, self.config, self._judge = data, config, judge
        rng = np.random.default_rng([config.seed, 0])
        # The floor must be drawn from as many images as are generated, or the bias would differ.
        self.samples = min(config.samples, len(data.train_images))
        self._train_part = np.sort(rng.permutation(len(data.train_images))[: self.samples])
        self._test_order = rng.permutation(len(data.test_images))
        self._noisy: dict[float, Noisy] = {}

    def judge(self, images: np.ndarray, stage: str = "") -> Judged:
        """The judge's features and probabilities of ``images``."""
        outputs = self._judge.run("serving_default", stage, image=images)
        return Judged(outputs["features"], outputs["probabilities"])

    def score(self, judged: Judged) -> GenerationScores:
        """Compares a set of images with the test images."""
        mean, deviation = inception_score(judged.probabilities, self.config.inception_splits)
        histogram, real = class_histogram(judged.probabilities), self.test_histogram
        return GenerationScores(
            frechet_distance=frechet_distance_of(judged.features, self.test.features),
            inception_score=mean,
            inception_deviation=deviation,
            class_tv=total_variation(histogram, real),
            missing_modes=missing_modes(histogram, real),
            histogram=histogram,
        )

    def test_part(self, count: int) -> np.ndarray:
        """Indices of ``count`` test images in random order, always the same; all if fewer."""
        return self._test_order[:count]

    @functools.cached_property
    def test(self) -> Judged:
        return self.judge(self.data.test_images, "judge: real test images")

    @functools.cached_property
    def test_histogram(self) -> np.ndarray:
        return class_histogram(self.test.probabilities)

    @functools.cached_property
    def judge_accuracy(self) -> float:
        return float(np.mean(self.test.classes == self.data.test_labels))

    @functools.cached_property
    def floor(self) -> GenerationScores:
        """Real train images, as many as are generated, against the test images."""
        images = self.data.train_images[self._train_part]
        return self.score(self.judge(images, "judge: real train images"))

    @functools.cached_property
    def test_inception_score(self) -> tuple[float, float]:
        return inception_score(self.test.probabilities, self.config.inception_splits)

    @functools.cached_property
    def pixels(self) -> reconstruction.PixelStatistics:
        return reconstruction.pixel_statistics(self.data.train_images)

    @functools.cached_property
    def clusters(self) -> int:
        return self.config.clusters or self.data.num_classes

    @functools.cached_property
    def pixel_clusters(self) -> tuple[Clusters, Agreement]:
        config = self.config
        found = kmeans(self.data.test_images, self.clusters, config.kmeans_restarts, config.seed)
        return found, agreement(found.labels, self.data.test_labels)

    def noisy(self, sigma: float) -> Noisy:
        """Test images with noise of deviation ``sigma``, and the yardstick's figures."""
        if sigma not in self._noisy:
            clean = self.data.test_images[self.test_part(self.config.denoising_images)]
            noisy, unclipped = denoising.add_noise(clean, sigma, self.config.seed)
            linear = denoising.linear_optimum(unclipped, self.pixels, sigma)
            self._noisy[sigma] = Noisy(
                clean=clean,
                noisy=noisy,
                noisy_psnr=float(reconstruction.psnr(clean, noisy).mean()),
                noisy_ssim=float(reconstruction.ssim(clean, noisy).mean()),
                linear_psnr=float(reconstruction.psnr(clean, linear).mean()),
                linear_ssim=float(reconstruction.ssim(clean, linear).mean()),
            )
        return self._noisy[sigma]
