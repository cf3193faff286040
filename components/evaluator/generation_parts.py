"""Everything that is measured of generated images, for diffusion and GAN alike; FID if asked for.

Besides generating, 25 s on two cores for 10,000 images under the default settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.evaluator.measurement import Measured, Part
from components.evaluator.metrics.fid import load_inception, pool3_features
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.parts.classifier import (
    augmentation_part,
    synthetic_part,
    two_sample_part,
)
from components.evaluator.parts.generation import Samples, generation_part
from components.evaluator.parts.neighbours import diversity_part, memorisation_part
from components.evaluator.references import References
from components.evaluator.results import Table
from components.evaluator.saved_model import LoadedModel, NotRun

NO_WEIGHTS = "not run; evaluator.fid_weights must name a file of Inception-v3 weights"


def generation_parts(settings: Mapping[str, int]) -> tuple[Part, ...]:
    """The parts in the order of the report; ``settings`` are further inputs of ``generate``."""
    samples = Samples(settings)
    return (
        generation_part(samples),
        diversity_part(samples),
        two_sample_part(samples),
        synthetic_part(samples),
        memorisation_part(samples),
        fid_part(samples),
        augmentation_part(samples),
    )


def fid_part(samples: Samples) -> Part:
    """FID of the generated images beside that of as many real train images."""

    def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
        weights = references.config.fid_weights
        if weights is None:
            raise NotRun(NO_WEIGHTS)
        network = load_inception(weights)
        images = samples.of(model, references, stage).images
        generated = pool3_features(network, images, f"{stage}, generated images")
        test = pool3_features(network, references.data.test_images, f"{stage}, test images")
        value = frechet_distance_of(generated, test)
        if not draw:
            return Measured({"fid": value})
        train = pool3_features(network, references.floor_images, f"{stage}, train images")
        floor = frechet_distance_of(train, test)
        table = Table(
            f"FID, Inception-v3 pool3 with Keras' weights: {len(images):,} images each, against "
            f"{len(test):,} test images",
            ("images", "FID"),
            (["generated", value], ["real, train split", floor]),
        )
        return Measured({"fid": value}, {"fid": floor}, tables=[table])

    return Part("FID", ("fid",), measure)
