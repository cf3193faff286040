"""FID of the generated images, and of as many real train images; only with weights."""

import numpy as np

from components.evaluator.catalogue import FID
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
from components.evaluator.metrics.fid import load_inception, pool3_features
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.references import References
from components.evaluator.results import Table
from components.evaluator.saved_model import LoadedModel, NotRun
from core.wording import NOT_RUN

NO_WEIGHTS = f"{NOT_RUN}evaluator.fid_weights must name a file of Inception-v3 weights"


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Left out unless the config names weights."""
    return (Part("FID", "samples", FID, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Fréchet distances to the test images on Inception-v3's features."""
    weights = references.config.fid_weights
    if weights is None:
        raise NotRun(NO_WEIGHTS)
    network = load_inception(weights)

    def features(words: str, images: np.ndarray) -> np.ndarray:
        return pool3_features(network, images, f"{stage}, {words} images")

    images = references.sample(model, stage).images
    generated = features("generated", images)
    test = references.once(("FID", "test"), lambda: features("test", references.data.test_images))
    train = references.once(("FID", "train"), lambda: features("train", references.floor_images))
    value, floor = (frechet_distance_of(each, test) for each in (generated, train))
    table = Table(
        f"FID, Inception-v3 pool3 with Keras' weights: {len(images):,} images each, against "
        f"{len(test):,} test images",
        ("images", "FID"),
        (["generated", value], ["real, train split", floor]),
    )
    return Measured([Row("fid", value, floor)], tables=[table])
