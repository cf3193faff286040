"""Judges an autoencoder: reconstruction against PCA, clusters, map, denoising, anomalies.

Works through the SavedModel's signatures alone. About a minute and a half on two cores for 10,000
test images, most of it t-SNE and the filters that denoising is compared with.
"""

from __future__ import annotations

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import judge_part, run_parts
from components.evaluator.parts.anomaly import anomaly_part, other_data_part, read_other_data
from components.evaluator.parts.clusters import clusters_part
from components.evaluator.parts.denoising import denoising_part
from components.evaluator.parts.one_class import one_class_part
from components.evaluator.parts.reconstruction import reconstruction_part
from components.evaluator.parts.tsne import map_part
from components.evaluator.references import EvalData, References
from components.evaluator.results import Evaluation
from components.evaluator.saved_model import LoadedModel


def evaluate_autoencoder(
    model: LoadedModel,
    judge: LoadedModel,
    data: EvalData,
    config: EvaluatorConfig,
    champion: LoadedModel | None = None,
) -> Evaluation:
    """Measures ``model`` on the test images and judges its gates.

    Raises:
        InputError: A model lacks a signature, or another data set cannot be read.
    """
    other = read_other_data(config.anomaly_data)  # first, as it may be missing
    parts = (
        reconstruction_part(),
        denoising_part(config.noise_levels, _denoise),
        clusters_part(),
        map_part(),
        anomaly_part(),
        other_data_part(other),
        one_class_part(),
        judge_part(),
    )
    return run_parts(parts, model, References(data, judge, config), config, champion)


def _denoise(model: LoadedModel, noisy: np.ndarray, sigma: float, stage: str) -> np.ndarray:
    return model.run("denoise", stage, image=noisy)["image"]
