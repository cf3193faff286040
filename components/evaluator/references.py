"""The images of an evaluation, and the reference values that depend on them and the judge only.

Contract: ``EvalData`` holds Transform's three splits; ``References`` computes each reference value
once, on first use, for both candidate and champion. Judging 10,000 images takes about three seconds
on two cores.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.metrics import reconstruction
from components.evaluator.metrics.frechet import (
    Moments,
    frechet_distance_of,
    frechet_infinity,
    moment_replicates,
)
from components.evaluator.metrics.inception_score import (
    class_histogram,
    histogram_replicates,
    inception_score,
    missing_modes,
    total_variation,
)
from components.evaluator.metrics.kid import kid
from components.evaluator.metrics.neighbours import k_nearest
from components.evaluator.saved_model import LoadedModel, NotFinite
from core.digits import class_words, read_digits


@dataclasses.dataclass(frozen=True)
class EvalData:
    """Images [N, 28, 28, 1] float32 in [0, 1] with labels [N] int64."""

    test_images: np.ndarray
    test_labels: np.ndarray
    train_images: np.ndarray
    num_classes: int
    train_labels: np.ndarray
    held_out_images: np.ndarray  # the eval split: from the train files, but in no training
    names: tuple[str, ...] = ()  # [num_classes] of the classes; empty where they have none

    @property
    def classes(self) -> list[str]:
        """What each class is called."""
        return class_words(self.names, self.num_classes)


def read_eval_data(examples_uri: str) -> EvalData:
    """Reads Transform's output; splits are found by directory, which both runners keep.

    Raises:
        InputError: A split has no examples.
    """
    test, train, held_out = (
        read_digits([str(Path(examples_uri) / f"Split-{split}" / "*")])
        for split in ("test", "train", "eval")
    )
    return EvalData(
        test_images=test.images,
        test_labels=test.labels,
        train_images=train.images,
        num_classes=train.num_classes,
        names=train.names,
        train_labels=train.labels,
        held_out_images=held_out.images,
    )


@dataclasses.dataclass(frozen=True)
class Judged:
    """Features and probabilities of a set of images, by the judge."""

    features: np.ndarray  # [N, D]
    probabilities: np.ndarray  # [N, K]

    @property
    def classes(self) -> np.ndarray:
        """Most likely class of each image: [N]."""
        return self.probabilities.argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Generated images [N, 28, 28, 1] in [0, 1] and the judge's output for them."""

    images: np.ndarray
    judged: Judged


@dataclasses.dataclass(frozen=True)
class GenerationScores:
    """Metrics of one set of images compared with the test images."""

    frechet_distance: float
    fd_infinity: float
    kid: float
    inception_score: float
    inception_deviation: float  # standard deviation over the splits
    class_tv: float
    missing_modes: int
    histogram: np.ndarray  # [K] shares


class References:
    """Reference values that depend on data, judge and config only, and the images that each
    model generates: all computed once.
    """

    def __init__(self, data: EvalData, judge: LoadedModel, config: EvaluatorConfig):
        self.data, self.config, self._judge = data, config, judge
        rng = np.random.default_rng([config.seed, 0])
        # The floor must use as many images as are generated, or the bias would differ.
        self.samples = min(config.samples, len(data.train_images))
        # In random order, so that its first images are a random part of it.
        self._train_part = rng.permutation(len(data.train_images))[: self.samples]
        self._test_order = rng.permutation(len(data.test_images))
        self._kept: dict[tuple, Any] = {}

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
            fd_infinity=frechet_infinity(judged.features, self.test.features, self.config.seed),
            kid=kid(self.paired(judged.features), self.paired_test),
            inception_score=mean,
            inception_deviation=deviation,
            class_tv=total_variation(histogram, real),
            missing_modes=missing_modes(histogram, real),
            histogram=histogram,
        )

    def sample(self, model: LoadedModel, stage: str = "") -> Sample:
        """The ``samples`` images that ``model`` generates, the same for every part.

        Raises:
            NotFinite: A pixel is NaN or infinite; the model does not generate a second time.
        """
        found = self.once(("sample", model.path), lambda: self._generate(model, stage))
        if isinstance(found, NotFinite):
            raise found
        return found

    def generates(self, model: LoadedModel) -> bool:
        """Whether a part has used the ``sample`` of ``model``."""
        return ("sample", model.path) in self._kept

    def _generate(self, model: LoadedModel, stage: str) -> Sample | NotFinite:
        takes_steps = "steps" in model.inputs("generate")
        settings = {"steps": self.config.generate_steps} if takes_steps else {}
        try:
            images = model.generate(self.samples, self.config.seed, stage, **settings)
        except NotFinite as error:
            return error
        return Sample(images, self.judge(images, f"{stage}, judged"))

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
    def linear_classifier_accuracy(self) -> float:
        """Accuracy on the test images of ridge regression on the train pixels' classes.

        A least-squares classifier (Hastie et al., The Elements of Statistical Learning, section
        4.2) has one solution, without a training.
        """
        from sklearn.linear_model import RidgeClassifier

        def flat(images: np.ndarray) -> np.ndarray:
            return images.reshape(len(images), -1)

        fitted = RidgeClassifier(alpha=1.0, solver="cholesky").fit(
            flat(self.data.train_images), self.data.train_labels
        )
        return float(fitted.score(flat(self.data.test_images), self.data.test_labels))

    @functools.cached_property
    def floor(self) -> GenerationScores:
        """Real train images, as many as are generated, against the test images."""
        return self.score(self.train)

    @functools.cached_property
    def floor_images(self) -> np.ndarray:
        """Real train images, as many as are generated: what a perfect generator would give."""
        return self.data.train_images[self._train_part]

    @functools.cached_property
    def train(self) -> Judged:
        """The judge's output for ``floor_images``."""
        return self.judge(self.floor_images, "judge: real train images")

    def paired(self, features: np.ndarray) -> np.ndarray:
        """The first of ``features`` [N, D], for metrics that compare all pairs, in float64.

        Divided by the root mean square of the test features: a kernel of their products would
        otherwise depend on the scale of this judge's features.
        """
        return features[: self.config.pair_images].astype(np.float64) / self._feature_scale

    @functools.cached_property
    def paired_test(self) -> np.ndarray:
        """The same of as many test images, chosen at random."""
        return self.paired(self.test.features[self.test_part(self.config.pair_images)])

    @functools.cached_property
    def _feature_scale(self) -> float:
        return float(np.sqrt(np.mean(np.square(self.test.features, dtype=np.float64)))) or 1.0

    @functools.cached_property
    def test_moments(self) -> list[Moments]:
        """Bootstrap replicates of the moments of the test features."""
        count, seed = self.config.distance_replicates, self.config.seed + 1
        return list(moment_replicates(self.test.features, count, seed))

    @functools.cached_property
    def test_histograms(self) -> np.ndarray:
        """Bootstrap replicates [B, K] of ``test_histogram``."""
        count, seed = self.config.bootstrap_replicates, self.config.seed + 1
        return histogram_replicates(self.test.probabilities, count, seed)

    @functools.cached_property
    def all_train_features(self) -> np.ndarray:
        """The judge's features of every train image: [N, D]."""
        return self.judge(self.data.train_images, "judge: all train images").features

    @functools.cached_property
    def held_out(self) -> Judged:
        return self.judge(self.data.held_out_images, "judge: held-out images")

    @functools.cached_property
    def held_out_distances(self) -> tuple[np.ndarray, np.ndarray]:
        """From each held-out image to the nearest train image, in pixels and in features: [N]."""
        pixels, _ = k_nearest(self.data.held_out_images, self.data.train_images, 1)
        features, _ = k_nearest(self.held_out.features, self.all_train_features, 1)
        return pixels[:, 0], features[:, 0]

    @functools.cached_property
    def test_inception_score(self) -> tuple[float, float]:
        return inception_score(self.test.probabilities, self.config.inception_splits)

    @functools.cached_property
    def pixels(self) -> reconstruction.PixelStatistics:
        return reconstruction.pixel_statistics(self.data.train_images)

    @functools.cached_property
    def clusters(self) -> int:
        return self.config.clusters or self.data.num_classes

    def once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """The result of ``compute``, computed at the first call with ``key``.

        For the references of a single part, which are defined next to it.
        """
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]
