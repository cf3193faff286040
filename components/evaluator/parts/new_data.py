"""New data through the served autoencoder: is it like the data that this version was made with?

Contract: every version is pushed with a ``DataRecord`` of its held-out images: those of the train
files that no training has seen. ``compare`` measures the champion on the held-out images of this
run, and a note warns where they differ by more than sampling explains in 99.9 % of such
comparisons. No gate depends on it. About four seconds for 5,000 images on two cores.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.metrics import reconstruction
from components.evaluator.metrics.clustering import kmeans
from components.evaluator.metrics.inception_score import total_variation
from components.evaluator.references import References
from components.evaluator.results import Table
from components.evaluator.saved_model import LoadedModel, NotRun
from core.config import InputError, from_dict, require
from core.wording import number
from serving.versions import DATA_RECORD_FILE, extra_file

# Of the differences that sampling makes: one false warning in 500 runs, as a run has two chances.
# With 95 % it would be one in ten.
_LEVEL = 0.999
_SURE = f"{100 * _LEVEL:g} %"
_DRAWS = 10_000
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclasses.dataclass(frozen=True)
class DataRecord:
    """Held-out images as an autoencoder sees them."""

    mean: float  # mean squared error per pixel, pixels in 0..1
    deviation: float  # its standard deviation over the images
    quantiles: tuple[float, ...]  # at ``_QUANTILES``
    centres: tuple[tuple[float, ...], ...]  # [k, D] of K-Means on the code
    counts: tuple[int, ...]  # [k] images nearest to each

    def __post_init__(self) -> None:
        sizes = len(self.quantiles) == len(_QUANTILES) and len(self.counts) == len(self.centres)
        require(sizes and self.images > 0, "The record is not one of held-out images.")

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.counts)

    @property
    def shares(self) -> np.ndarray:
        """[k] of the images."""
        return np.array(self.counts) / self.images


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """The record of the candidate, and the comparison with that of the champion."""
    return (Part("new data", "drift", (), measure, compare),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """The record of the held-out images, which is pushed with the model."""
    codes = _codes(model, references, stage)
    found = kmeans(codes, references.clusters, references.config.seed)
    # A version is compared with what its file holds, to the last digit.
    centres = np.round(found.centres.astype(float), 5)
    record = _record(model, references, stage, codes, centres)
    return Measured(documents={DATA_RECORD_FILE: dataclasses.asdict(record)})


def compare(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Tables of the champion's record and of the new data, and a note for each real difference.

    Raises:
        NotRun: The champion has no such record, as it is of an earlier release.
    """
    path = extra_file(Path(model.path), DATA_RECORD_FILE)
    try:
        then = from_dict(DataRecord, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, InputError):
        raise NotRun("the champion has no record of its data") from None
    codes = _codes(model, references, stage)
    now = _record(model, references, stage, codes, np.array(then.centres))
    version = f"the champion, version {Path(model.path).name}"
    seed = references.config.seed
    return Measured(
        tables=[_errors(then, now, version), _shares(then, now, version, seed)],
        notes=differences(then, now, version, seed),
    )


def differences(then: DataRecord, now: DataRecord, version: str, seed: int) -> list[str]:
    """A sentence for each difference that sampling does not explain."""
    found = []
    change, chance = now.mean - then.mean, error_chance(then, now)
    if abs(change) > chance:
        found.append(
            f"The new data differ from those that {version}, was made with: its mean "
            f"reconstruction error was {number(then.mean)} and is {number(now.mean)}; "
            f"sampling explains a difference of {number(chance)} ({_SURE})."
        )
    distance, chance = total_variation(now.shares, then.shares), shares_chance(then, now, seed)
    if distance > chance:
        found.append(
            f"The new data fall into other clusters of {version}: the total variation distance "
            f"of the shares is {number(distance)}; sampling explains {number(chance)} "
            f"({_SURE})."
        )
    return found


def error_chance(then: DataRecord, now: DataRecord) -> float:
    """The largest difference of two means that sampling explains: that of a normal distribution."""
    variance = sum(one.deviation**2 / one.images for one in (then, now))
    return float(ndtri((1 + _LEVEL) / 2) * np.sqrt(variance))


def shares_chance(then: DataRecord, now: DataRecord, seed: int) -> float:
    """The largest total variation distance that sampling explains.

    It is that of pairs of samples of these sizes, both from the shares of all images together.
    """
    rng = np.random.default_rng(seed)
    both = np.add(then.counts, now.counts) / (then.images + now.images)
    a, b = (rng.multinomial(one.images, both, _DRAWS) / one.images for one in (then, now))
    return float(np.quantile(np.abs(a - b).sum(axis=1) / 2, _LEVEL))


def _codes(model: LoadedModel, references: References, stage: str) -> np.ndarray:
    images = references.data.held_out_images
    if len(images) < references.clusters:
        raise NotRun(f"there are {len(images)} held-out images for {references.clusters} clusters")
    return model.run("encode", stage, image=images)["code"]


def _record(
    model: LoadedModel, references: References, stage: str, codes: np.ndarray, centres: np.ndarray
) -> DataRecord:
    from sklearn.metrics import pairwise_distances_argmin

    images = references.data.held_out_images
    output = model.run("serving_default", f"{stage}, reconstructed", image=images)["image"]
    error = reconstruction.squared_error(images, output)
    nearest = pairwise_distances_argmin(codes.astype(float), centres)
    return DataRecord(
        mean=float(error.mean()),
        deviation=float(error.std(ddof=1)),
        quantiles=tuple(np.quantile(error, _QUANTILES).tolist()),
        centres=tuple(map(tuple, centres.tolist())),
        counts=tuple(np.bincount(nearest, minlength=len(centres)).tolist()),
    )


def _errors(then: DataRecord, now: DataRecord, version: str) -> Table:
    rows: list[Sequence[str | float]] = [
        (f"{100 * level:g} % of the images have at most", float(f"{a:.4g}"), float(f"{b:.4g}"))
        for level, a, b in zip(_QUANTILES, then.quantiles, now.quantiles, strict=True)
    ]
    rows.append(("mean", float(f"{then.mean:.4g}"), float(f"{now.mean:.4g}")))
    rows.append(("images", then.images, now.images))
    return Table(
        f"Reconstruction error (mean squared, per pixel) of {version}, on held-out images: those "
        f"of its own run, and those of this run. The means differ by "
        f"{number(abs(now.mean - then.mean))}; sampling explains "
        f"{number(error_chance(then, now))} ({_SURE})",
        ("held-out images", "then", "now"),
        rows,
    )


def _shares(then: DataRecord, now: DataRecord, version: str, seed: int) -> Table:
    order = np.argsort(-then.shares, kind="stable").tolist()
    return Table(
        f"Share of the images in each K-Means cluster of {version}, in percent. The total "
        f"variation distance is {number(total_variation(now.shares, then.shares))}; sampling "
        f"explains {number(shares_chance(then, now, seed))} ({_SURE})",
        ("cluster", "then", "now"),
        [
            (
                f"{place + 1}",
                round(100 * float(then.shares[k]), 1),
                round(100 * float(now.shares[k]), 1),
            )
            for place, k in enumerate(order)
        ],
    )
