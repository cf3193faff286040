"""Judges a diffusion model: generated images against real ones, and denoising.

Works through the SavedModel's signatures alone; generating takes most of the time.
"""

from __future__ import annotations

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.generation_parts import generation_parts
from components.evaluator.measurement import judge_part, run_parts
from components.evaluator.parts.denoising import denoising_part
from components.evaluator.parts.sampling_process import reverse_process_part
from components.evaluator.references import EvalData, References
from components.evaluator.results import Evaluation
from components.evaluator.saved_model import LoadedModel


def evaluate_diffusion(
    model: LoadedModel,
    judge: LoadedModel,
    data: EvalData,
    config: EvaluatorConfig,
    champion: LoadedModel | None = None,
) -> Evaluation:
    """Measures ``model`` against the test images and judges its gates.

    Raises:
        InputError: A model lacks a signature.
    """
    parts = (
        *generation_parts({"steps": config.generate_steps}),
        reverse_process_part(config.generate_steps),
        denoising_part(config.noise_levels, _denoise),
        judge_part(),
    )
    return run_parts(parts, model, References(data, judge, config), config, champion)


def _denoise(model: LoadedModel, noisy: np.ndarray, sigma: float, stage: str) -> np.ndarray:
    levels = np.full(len(noisy), sigma, np.float32)
    return model.run("denoise", stage, image=noisy, noise_level=levels)["image"]
