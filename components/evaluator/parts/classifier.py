"""Parts that train a classifier: two-sample tests, train on synthetic, and augmentation.

Each network is small and seeded (``classifier``). 15 s in all for 10,000 images on two cores, half
of them for the floors; augmentation trains 18 networks and is measured on request only.
"""

import numpy as np

from components.evaluator.catalogue import AUGMENTATION, LABEL_SHARES, SYNTHETIC, TWO_SAMPLE
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row, mean_row
from components.evaluator.metrics.classifier import accuracy, fit_classifier, predict
from components.evaluator.metrics.two_sample import classifier_verdicts, neighbour_verdicts
from components.evaluator.references import Judged, References
from components.evaluator.results import Table
from components.evaluator.saved_model import DEEP_ONLY, LoadedModel, NotRun

_DRAWS = 3  # of the labelled images; their choice moves the accuracy by a point


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Two-sample tests, train on synthetic and test on real, and augmentation."""
    return (
        Part("two-sample", "samples", TWO_SAMPLE, measure_two_sample),
        Part("synthetic training", "samples", SYNTHETIC, measure_synthetic),
        Part("augmentation", "samples", AUGMENTATION, measure_augmentation),
    )


def measure_two_sample(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Accuracy of the nearest neighbour and of a fresh network in telling generated from real."""
    sample = references.sample(model, stage)
    neighbour, network = _verdicts(sample.images, sample.judged, references)
    real_neighbour, real_network = references.once(
        ("two-sample",), lambda: _verdicts(references.floor_images, references.train, references)
    )
    rows = [
        mean_row("nearest_neighbour_accuracy", neighbour, references.config, real_neighbour),
        mean_row("classifier_accuracy", network, references.config, real_network),
    ]
    table = Table(
        f"Two-sample tests on {len(neighbour) // 2:,} images each of generated and test images; "
        f"the network is tested on {len(network):,} that it has not seen",
        ("accuracy of", "real against generated (%)", "real test against real train (%)"),
        [
            [words, *(round(100 * float(right.mean()), 2) for right in pair)]
            for words, *pair in (
                ("nearest neighbour", neighbour, real_neighbour),
                ("fresh network", network, real_network),
            )
        ],
    )
    return Measured(rows, tables=[table])


def measure_synthetic(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Accuracy on real test images of a network trained on generated images only."""
    sample = references.sample(model, stage)
    found = _right(sample.images, sample.judged, references)
    real = references.once(
        ("synthetic",), lambda: _right(references.floor_images, references.train, references)
    )
    return Measured([mean_row("synthetic_accuracy", found, references.config, real)])


def measure_augmentation(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Whether generated images help where labels are few."""
    if not references.config.deep:
        raise NotRun(DEEP_ONLY)
    images = references.sample(model, stage).images
    found = {share: _with_and_without(images, references, share) for share in LABEL_SHARES}
    rows = [
        Row(f"augmented_accuracy_{share:02d}", augmented, plain)
        for share, (plain, augmented, _) in found.items()
    ]
    table = Table(
        f"A network on a few labelled train images and {len(images):,} generated ones that it "
        f"labels itself: accuracy on the test images, mean of {_DRAWS} choices",
        ("labels", "images", "without generated (%)", "with generated (%)"),
        [
            [f"{share} %", count, round(100 * plain, 2), round(100 * augmented, 2)]
            for share, (plain, augmented, count) in found.items()
        ],
    )
    return Measured(rows, tables=[table])


def _verdicts(images: np.ndarray, judged: Judged, references: References) -> list[np.ndarray]:
    """Whether the nearest neighbour and a fresh network are right, per image."""
    config = references.config
    real = references.data.test_images[references.test_part(config.pair_images)]
    return [
        neighbour_verdicts(references.paired(judged.features), references.paired_test),
        classifier_verdicts(images[: config.pair_images], real, config.seed),
    ]


def _right(images: np.ndarray, judged: Judged, references: References) -> np.ndarray:
    """Both networks get the judge's labels, so that only the images differ."""
    data = references.data
    network = fit_classifier(
        images, judged.classes, judged.probabilities.shape[1], references.config.seed
    )
    return accuracy(network, data.test_images, data.test_labels)


def _with_and_without(
    generated: np.ndarray, references: References, share: int
) -> tuple[float, float, int]:
    """Accuracy without and with generated images, and how many labelled images there were.

    Self-training (Lee 2013, pseudo-labels): no other labels reach the second network.
    """
    data, seed = references.data, references.config.seed
    count = max(data.num_classes, len(data.train_images) * share // 100)
    plain, augmented = [], []
    for draw in range(_DRAWS):
        rng = np.random.default_rng([seed, share, draw])
        chosen = rng.choice(len(data.train_images), count, replace=False)
        images, labels = data.train_images[chosen], data.train_labels[chosen]
        alone = fit_classifier(images, labels, data.num_classes, seed + draw)
        plain.append(accuracy(alone, data.test_images, data.test_labels).mean())
        guessed = predict(alone, generated).argmax(axis=1)
        # As many labelled as generated images, so that guessed labels do not outweigh true ones.
        repeated = np.resize(np.arange(count), max(count, len(generated)))
        both = fit_classifier(
            np.concatenate([images[repeated], generated]),
            np.concatenate([labels[repeated], guessed]),
            data.num_classes,
            seed + draw,
        )
        augmented.append(accuracy(both, data.test_images, data.test_labels).mean())
    return float(np.mean(plain)), float(np.mean(augmented)), count
