"""FID of the generated images, beside that of as many real train images; only with weights."""

from __future__ import annotations

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.metrics.fid import load_inception, pool3_features
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.references import References
from components.evaluator.results import Table
from components.evaluator.saved_model import LoadedModel, NotRun

NO_WEIGHTS = "not run; evaluator.fid_weights must name a file of Inception-v3 weights"


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Left out unless the config names weights."""
    return (Part("FID", ("fid",), measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Fréchet distances to the test images on Inception-v3's features."""
    weights = references.config.fid_weights
    if weights is None:
        raise NotRun(NO_WEIGHTS)
    network = load_inception(weights)
    images = references.sample(model, stage).images
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
