"""How well the anomaly score separates test digits from corrupted digits and from other data.

The reference is the squared error of PCA with a code of the same size, on the same images. A dozen
seconds on two cores with 2,000 images of each kind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from components.evaluator.catalogue import CORRUPTIONS, OTHER_DATA, Metric
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
from components.evaluator.metrics import anomaly, reconstruction
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel, NotRun
from components.idx_example_gen.data import read_images
from core.config import InputError
from core.progress import report
from core.wording import NOT_RUN

_MEMBERS = 10  # images shown per kind
_COLUMNS = ("AUROC", "AUROC of PCA", "AUPRC", "AUPRC of PCA")


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Corrupted digits, and other data, which is read first, as it may be missing."""
    return (
        Part("anomalies", "anomalies", CORRUPTIONS, measure_corruptions),
        other_data_part(read_other_data(config.anomaly_data)),
    )


def measure_corruptions(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Against the same digits under every corruption."""
    config = references.config
    intact = _intact(references)
    kinds = {kind: anomaly.corrupt(intact, kind, config.seed) for kind in anomaly.CORRUPTIONS}
    rows, ranks = _rank(model, references, kinds, CORRUPTIONS, stage, together=True)
    if not draw:
        return Measured(rows)
    picture = Plot(
        "figures/anomalies.png",
        "Corrupted digits",
        "Intact test digits on top, then the same digits under each corruption.",
        plots.image_rows(
            [intact[:_MEMBERS], *(images[:_MEMBERS] for images in kinds.values())],
            ["intact", *kinds],
        ),
    )
    title = (
        f"Anomaly detection: {len(intact):,} intact test digits against as many corrupted "
        "ones; AUPRC of guessing is 0.5"
    )
    return Measured(rows, [picture], [Table(title, ("corruption", *_COLUMNS), ranks)])


def other_data_part(sets: Mapping[str, np.ndarray]) -> Part:
    """Against the images of other data sets, by name; left out if there is none."""

    def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
        if not sets:
            raise NotRun(f"{NOT_RUN}name data directories in evaluator.anomaly_data")
        config = references.config
        rng = np.random.default_rng([config.seed, 1])
        kinds = {
            name: images[np.sort(rng.permutation(len(images))[: config.anomaly_images])]
            for name, images in sets.items()
        }
        rows, ranks = _rank(model, references, kinds, OTHER_DATA, stage, together=False)
        if not draw:
            return Measured(rows)
        picture = Plot(
            "figures/anomalies_other.png",
            "Images of other data sets",
            "Test images of the data sets that the anomaly score should separate from digits.",
            plots.image_rows([images[:_MEMBERS] for images in kinds.values()], list(kinds)),
        )
        title = (
            f"Anomaly detection: {len(_intact(references)):,} test digits against up to "
            f"{config.anomaly_images:,} images of other data sets"
        )
        return Measured(rows, [picture], [Table(title, ("data set", *_COLUMNS), ranks)])

    return Part("other data", "anomalies", OTHER_DATA, measure)


def read_other_data(directories: Sequence[str]) -> dict[str, np.ndarray]:
    """The test images [N, 28, 28, 1] in [0, 1] of every directory, by its name.

    Raises:
        InputError: A directory or its file is missing or damaged, or two have the same name.
    """
    found: dict[str, np.ndarray] = {}
    for directory in directories:
        try:
            images = read_images(directory, "test")
        except InputError as error:
            raise InputError(f"evaluator.anomaly_data cannot be read: {error}") from error
        name = Path(directory).name
        if name in found:
            raise InputError(
                f"evaluator.anomaly_data names two directories {name}; rename one, as the tables "
                "go by that."
            )
        found[name] = (images[..., None] / 255).astype(np.float32)
    return found


def _rank(
    model: LoadedModel,
    references: References,
    kinds: Mapping[str, np.ndarray],
    metrics: Sequence[Metric],
    stage: str,
    together: bool,
) -> tuple[list[Row], list[list[str | float]]]:
    """AUROC and AUPRC of every kind of anomaly: their means as ``metrics``, and rows for a table.

    ``together``: whether the anomalies are the intact digits themselves, corrupted.
    """
    config, intact = references.config, _intact(references)
    size = model.size_of("encode", "code")
    seeds = (config.seed, config.seed if together else config.seed + 1)
    normal = model.run("anomaly_score", image=intact)["anomaly_score"]
    linear_normal = _linear_error(references, intact, size)
    scores, floors, drawn, ranks = [], [], [], []
    for i, (kind, images) in enumerate(kinds.items()):
        odd = model.run("anomaly_score", image=images)["anomaly_score"]
        linear_odd = _linear_error(references, images, size)
        scores.append([x.item() for x in anomaly.ranking(normal, odd)])
        floors.append([x.item() for x in anomaly.ranking(linear_normal, linear_odd)])
        drawn.append(anomaly.ranking_replicates(normal, odd, config.bootstrap_replicates, seeds))
        ranks.append([kind, *_rounded(scores[-1], floors[-1])])
        report(stage, i + 1, len(kinds), auroc=scores[-1][0])
    mean, floor, replicates = (np.mean(x, axis=0) for x in (scores, floors, drawn))
    ranks.append(["mean", *_rounded(mean, floor)])
    rows = [
        Row(metric.name, float(value), float(reference), own)
        for metric, value, reference, own in zip(metrics, mean, floor, replicates, strict=True)
    ]
    return rows, ranks


def _rounded(scores: Sequence[float], floors: Sequence[float]) -> list[float]:
    """Each score with its reference behind it."""
    return [round(float(x), 4) for pair in zip(scores, floors, strict=True) for x in pair]


def _intact(references: References) -> np.ndarray:
    part = references.test_part(references.config.anomaly_images)
    return references.data.test_images[part]


def _linear_error(references: References, images: np.ndarray, size: int) -> np.ndarray:
    linear = reconstruction.pca_reconstruction(images, references.pixels, size)
    return reconstruction.squared_error(images, linear)
