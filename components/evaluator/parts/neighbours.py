"""Parts that look for neighbours: how varied generated images are, and whether they are copies.

Precision, recall, density and coverage in the judge's features; memorisation in pixels and in
features. 15 s for 10,000 images on two cores, 5 s of them for the features of all train images.
"""

import dataclasses
from typing import Any

import numpy as np

from components.evaluator.catalogue import DIVERSITY, MEMORISATION
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row, mean_row
from components.evaluator.metrics.bootstrap import mean_replicates
from components.evaluator.metrics.memorisation import PERCENTILE, Copying, copying
from components.evaluator.metrics.neighbours import k_nearest
from components.evaluator.metrics.precision_recall import manifolds
from components.evaluator.parts import plots
from components.evaluator.references import References, Sample
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel

_PAIRS = 12  # of the plot of the closest pairs


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Realism and variety, and memorisation."""
    return (
        Part("diversity", "samples", DIVERSITY, measure_diversity),
        Part("memorisation", "memory", MEMORISATION, measure_memorisation),
    )


def measure_diversity(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Precision, recall, density and coverage, with intervals over the images they are means of."""
    config, test = references.config, references.paired_test
    generated = references.paired(references.sample(model, stage).judged.features)
    found = manifolds(generated, test)
    real = references.once(
        ("manifolds",), lambda: manifolds(references.paired(references.train.features), test)
    )
    precision = mean_row("precision", found.precise, config, real.precise)
    recall = mean_row("recall", found.recalled, config, real.recalled)
    rows = [
        precision,
        recall,
        Row(
            "precision_recall",
            _harmonic(precision.value, recall.value),
            _harmonic(precision.reference, recall.reference),
            _harmonic(precision.replicates, recall.replicates),
        ),
        mean_row("density", found.density, config, real.density),
        mean_row("coverage", found.covered, config, real.covered),
    ]
    table = Table(
        f"Realism and variety in the judge's features: {len(generated):,} images each, "
        f"against {len(test):,} test images",
        ("images", "precision", "recall", "density", "coverage"),
        [
            [words, *(round(float(each.mean()), 4) for each in dataclasses.astuple(manifold))]
            for words, manifold in (("generated", found), ("real, train split", real))
        ],
    )
    return Measured(rows, tables=[table])


def _harmonic(one: Any, other: Any) -> Any:
    """Harmonic mean of two shares, or of arrays of shares; 0 where both are."""
    return 2 * one * other / np.maximum(one + other, 1e-12)


def measure_memorisation(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Nearest train images of generated and of held-out images, and a plot of the closest pairs."""
    config, data = references.config, references.data
    count = config.memorisation_images
    sample = references.sample(model, stage)
    images, classes = sample.images[:count], sample.judged.classes[:count]
    features = sample.judged.features[:count]
    by_pixels, nearest = k_nearest(images, data.train_images, 1)
    by_features, _ = k_nearest(features, references.all_train_features, 1)
    held_out = references.held_out
    pixels, deep = (
        copying(distance[:, 0], classes, other, held_out.classes)
        for distance, other in zip(
            (by_pixels, by_features), references.held_out_distances, strict=True
        )
    )

    def shares(found: Copying, verdicts: np.ndarray) -> np.ndarray | None:
        """Replicates of the share of compared images with that verdict."""
        compared = verdicts[found.compared]
        count = config.bootstrap_replicates
        return mean_replicates(compared, count, config.seed) if len(compared) else None

    by_definition = PERCENTILE / 100
    rows = [
        Row("memorised_share", pixels.share, by_definition, shares(pixels, pixels.close)),
        Row("memorised_share_features", deep.share, by_definition, shares(deep, deep.close)),
        Row("outlying_share", pixels.far_share, by_definition, shares(pixels, pixels.far)),
        Row("memorisation_p", pixels.p_value, 0.5),
    ]
    if not draw:
        return Measured(rows)
    pairs = _pairs(sample, data.train_images[nearest[:, 0]], pixels)
    table = _table(pixels, deep, by_pixels[:, 0], by_features[:, 0], references)
    return Measured(rows, [pairs], [table])


def _pairs(sample: Sample, nearest: np.ndarray, found: Copying) -> Plot:
    """The generated images that are closest for their class, above their nearest train images."""
    order = np.argsort(found.ratio, kind="stable")[:_PAIRS]
    return Plot(
        "figures/memorisation.png",
        "Closest to the training images",
        f"Of {len(nearest):,} generated images the {len(order)} that lie closest to a train image "
        "for their class, in pixels, and that train image below each. Similar is not the same: a "
        "copy has identical pixels.",
        plots.image_rows([sample.images[order], nearest[order]], ["generated", "nearest train"]),
    )


def _table(
    pixels: Copying,
    deep: Copying,
    by_pixels: np.ndarray,
    by_features: np.ndarray,
    references: References,
) -> Table:
    held_pixels, held_features = references.held_out_distances

    def row(space: str, found: Copying, generated: np.ndarray, held: np.ndarray) -> list:
        middle = [round(float(np.median(distances)), 3) for distances in (generated, held)]
        return [space, *middle, round(100 * found.share, 2), found.z, found.p_value]

    return Table(
        f"Nearest of {len(references.data.train_images):,} train images: {len(by_pixels):,} "
        f"generated and {len(held_pixels):,} held-out real images; too close is closer than "
        f"percentile {PERCENTILE} of held-out images of the same class",
        ("distance in", "median, generated", "median, held-out", "too close (%)")
        + ("z of the rank test", "p-value"),
        (
            row("pixels", pixels, by_pixels, held_pixels),
            row("the judge's features", deep, by_features, held_features),
        ),
    )
